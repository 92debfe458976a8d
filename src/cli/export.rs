//! `ragicamp export`: every prediction with its configuration, for pandas,
//! Polars, R and spreadsheets.

mod columns;
mod parquet;

use super::{
    CliError, ExitStatus,
    experiments::{self, Stored},
    run::artifact,
};
use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use columns::Column;
use std::{
    collections::BTreeSet,
    io::{BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

/// Write one row per prediction.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp export outputs/quickstart --format csv > predictions.csv
  ragicamp export outputs/quickstart --format parquet -o predictions.parquet

Each row has the experiment's configuration, the question, the gold answers (a JSON list), the
answer or the error, tokens and time, and a column per metric.")]
pub struct ExportArgs {
    /// A study's directory, or an experiment's.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// csv or parquet.
    #[arg(long, short, default_value = "csv")]
    format: Format,
    /// Where to (default: standard output).
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Parquet,
}

/// Takes the rows of one experiment after the other.
trait Sink {
    /// Columns of equal length, those of [`columns::of`].
    fn write(&mut self, columns: &[Column]) -> anyhow::Result<()>;

    fn finish(self: Box<Self>) -> anyhow::Result<()>;
}

pub fn run(args: &ExportArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let stored = experiments::read(&args.directory)?;
    let Some(path) = &args.output else {
        if args.format == Format::Parquet && std::io::stdout().is_terminal() {
            return Err(CliError::usage(anyhow!(
                "a Parquet file is not for the terminal: name one with -o FILE"
            )));
        }
        let mut bytes = Vec::new();
        // Parquet is written by a thread-safe writer, so it goes to memory
        // first; CSV as well, for one way of doing it.
        write(args.format, &stored, &mut bytes)?;
        out.write_all(&bytes)?;
        return Ok(ExitStatus::OK);
    };
    let rows = to_file(args.format, &stored, path)?;
    eprintln!("{}: {rows} rows", path.display());
    Ok(ExitStatus::OK)
}

/// Replaces the file when everything is in it.
fn to_file(format: Format, stored: &[Stored], path: &Path) -> Result<usize, CliError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let wrong = || format!("cannot write {}", path.display());
    let failed = |error: std::io::Error| CliError::usage(anyhow!(error).context(wrong()));
    if path.is_dir() {
        return Err(CliError::usage(anyhow!(
            "{} is a directory: name a file in it",
            path.display()
        )));
    }
    let mut file = tempfile::Builder::new()
        .prefix(".export.")
        .make_in(directory, |path| {
            // The umask applies: colleagues read these files.
            std::fs::File::options()
                .write(true)
                .create_new(true)
                .open(path)
        })
        .map_err(failed)?;
    let rows = {
        let mut buffered = BufWriter::new(file.as_file_mut());
        let rows = write(format, stored, &mut buffered)?;
        buffered.flush().map_err(failed)?;
        rows
    };
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(rows)
}

/// Writes all rows, and says how many there are.
fn write(
    format: Format,
    stored: &[Stored],
    out: &mut (dyn Write + Send),
) -> Result<usize, CliError> {
    let metrics = metric_columns(stored)?;
    let mut sink: Box<dyn Sink + '_> = match format {
        Format::Csv => Box::new(CsvSink(csv::Writer::from_writer(out))),
        Format::Parquet => {
            let kinds = columns::of(None, &[], &metrics);
            Box::new(parquet::ParquetSink::new(out, &kinds)?)
        }
    };
    if format == Format::Csv {
        // The header, also of an export without a row.
        sink.write(&columns::of(None, &[], &metrics))?;
    }
    let mut rows = 0;
    for one in stored {
        let records = records(one)?;
        rows += records.len();
        if !records.is_empty() {
            sink.write(&columns::of(Some(one), &records, &metrics))?;
        }
    }
    sink.finish().context("cannot finish the export")?;
    Ok(rows)
}

/// Every metric that some record may have, by name.
fn metric_columns(stored: &[Stored]) -> Result<Vec<String>, CliError> {
    let mut names: BTreeSet<String> = experiments::metric_names(stored)
        .into_iter()
        .map(str::to_owned)
        .collect();
    // Without results only the records tell.
    for one in stored.iter().filter(|one| one.row.metrics.is_empty()) {
        for record in records(one)? {
            names.extend(record.metrics.keys().cloned());
        }
    }
    Ok(names.into_iter().collect())
}

/// The records of an experiment by idx, with their scores.
fn records(stored: &Stored) -> Result<Vec<crate::domain::Prediction>, CliError> {
    let mut best = stored.dir.records().map_err(artifact)?.best;
    let rendered = stored.dir.predictions().map_err(artifact)?;
    for (idx, record) in rendered.map(|file| file.best()).unwrap_or_default() {
        let known = best.get(&idx);
        // The journal is the truth; only the rendered file has the scores.
        if known.is_none_or(|known| known.prediction == record.prediction) {
            best.insert(idx, record);
        }
    }
    Ok(best.into_values().collect())
}

struct CsvSink<W: Write>(csv::Writer<W>);

impl<W: Write> Sink for CsvSink<W> {
    fn write(&mut self, columns: &[Column]) -> anyhow::Result<()> {
        let rows = columns.first().map_or(0, Column::len);
        if rows == 0 {
            self.0
                .write_record(columns.iter().map(|column| column.name.as_str()))?;
        }
        for row in 0..rows {
            self.0
                .write_record(columns.iter().map(|column| column.text(row)))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        Ok(self.0.flush()?)
    }
}
