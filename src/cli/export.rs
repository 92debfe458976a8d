//! `ragicamp export`: every prediction with its configuration, for pandas,
//! Polars, R and spreadsheets.

mod columns;
mod parquet;

use super::{
    CliError, ExitStatus,
    experiments::{self, Stored},
    run::artifact,
    words::count,
};
use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use columns::Column;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

/// Write one row per prediction.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp export outputs/quickstart > predictions.csv
  ragicamp export outputs/quickstart -o predictions.parquet

Each row has the experiment's configuration, the question, the gold answers (a JSON list), the
answer or the error, tokens and time, and a column per metric.")]
pub struct ExportArgs {
    /// A study's directory, or an experiment's.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// csv or parquet [default: by the ending of FILE, else csv]
    #[arg(long, short)]
    format: Option<Format>,
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
    let format = format(args)?;
    let stored = experiments::read(&args.directory)?;
    let Some(path) = &args.output else {
        if format == Format::Parquet && io::stdout().is_terminal() {
            return Err(CliError::usage(anyhow!(
                "a Parquet file is not for the terminal: name one with -o FILE"
            )));
        }
        match format {
            // Each experiment's rows as they come: a study may be larger than
            // the memory.
            Format::Csv => {
                let mut out = BufWriter::new(&mut *out);
                rows(&stored, "standard output", |metrics| {
                    Ok(Box::new(CsvSink::new(&mut out, metrics)?))
                })?;
                out.flush().context("cannot write standard output")?;
            }
            // Parquet is written by a thread-safe writer, so it goes to memory
            // first.
            Format::Parquet => {
                let mut bytes = Vec::new();
                write(format, &stored, "memory", &mut bytes)?;
                out.write_all(&bytes)
                    .context("cannot write standard output")?;
            }
        }
        return Ok(ExitStatus::OK);
    };
    let rows = to_file(format, &stored, path)?;
    eprintln!("{}: {}", path.display(), count(rows, "row"));
    Ok(ExitStatus::OK)
}

/// The format that is asked for, or that the file's name ends with.
fn format(args: &ExportArgs) -> Result<Format, CliError> {
    let path = args.output.as_deref();
    let ending = path.and_then(Path::extension).and_then(|it| it.to_str());
    let by_name = match ending.map(str::to_lowercase).as_deref() {
        Some("csv") => Some(Format::Csv),
        Some("parquet" | "pq") => Some(Format::Parquet),
        _ => None,
    };
    match (args.format, by_name, path) {
        (Some(asked), Some(named), Some(path)) if asked != named => {
            let word = |format| match format {
                Format::Csv => "csv",
                Format::Parquet => "parquet",
            };
            Err(CliError::usage(anyhow!(
                "--format {}: the name {} says {}; change one of them",
                word(asked),
                path.display(),
                word(named)
            )))
        }
        (asked, by_name, _) => Ok(asked.or(by_name).unwrap_or(Format::Csv)),
    }
}

/// Replaces the file when everything is in it. What is no file but can be
/// written to (a pipe, a device) is written to.
fn to_file(format: Format, stored: &[Stored], path: &Path) -> Result<usize, CliError> {
    let place = path.display().to_string();
    let failed =
        |error: io::Error| CliError::from(anyhow!(error).context(format!("cannot write {place}")));
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(CliError::usage(anyhow!(
            "{place} is a directory: name a file in it"
        ))),
        Ok(there) if !there.is_file() => {
            let mut file = File::options().write(true).open(path).map_err(failed)?;
            fill(format, stored, &place, &mut file)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => {
            let target = target(path);
            let directory = match target.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let mut file = tempfile::Builder::new()
                .prefix(".export.")
                .make_in(directory, |path| {
                    // The umask applies: colleagues read these files.
                    File::options().write(true).create_new(true).open(path)
                })
                .map_err(failed)?;
            let rows = fill(format, stored, &place, file.as_file_mut())?;
            file.persist(&target).map_err(|error| failed(error.error))?;
            Ok(rows)
        }
    }
}

/// The file that a path leads to, also where it does not exist yet: a link
/// stays, what it names is replaced.
fn target(path: &Path) -> PathBuf {
    // As many as the kernel follows.
    const LINKS: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        let Ok(link) = fs::read_link(&target) else {
            break;
        };
        target = target.parent().unwrap_or(Path::new("")).join(link);
    }
    target
}

/// Writes all rows to a file that is open, and says how many there are.
fn fill(
    format: Format,
    stored: &[Stored],
    place: &str,
    file: &mut File,
) -> Result<usize, CliError> {
    let mut buffered = BufWriter::new(file);
    let rows = write(format, stored, place, &mut buffered)?;
    buffered
        .flush()
        .with_context(|| format!("cannot write {place}"))?;
    Ok(rows)
}

/// Writes all rows, and says how many there are. `place` is what `out` is
/// called.
fn write(
    format: Format,
    stored: &[Stored],
    place: &str,
    out: &mut (dyn Write + Send),
) -> Result<usize, CliError> {
    rows(stored, place, |metrics| match format {
        Format::Csv => Ok(Box::new(CsvSink::new(out, metrics)?)),
        Format::Parquet => {
            let kinds = columns::of(None, &[], metrics);
            Ok(Box::new(parquet::ParquetSink::new(out, &kinds)?))
        }
    })
}

/// Hands all rows to the sink for these metrics, and says how many there are.
fn rows<'s>(
    stored: &[Stored],
    place: &str,
    sink: impl FnOnce(&[String]) -> anyhow::Result<Box<dyn Sink + 's>>,
) -> Result<usize, CliError> {
    let wrong = || format!("cannot write {place}");
    let metrics = metric_columns(stored)?;
    let mut sink = sink(&metrics).with_context(wrong)?;
    let mut rows = 0;
    for one in stored {
        let records = records(one)?;
        rows += records.len();
        if !records.is_empty() {
            sink.write(&columns::of(Some(one), &records, &metrics))
                .with_context(wrong)?;
        }
    }
    sink.finish().with_context(wrong)?;
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

impl<W: Write> CsvSink<W> {
    /// With the header, also of an export without a row.
    fn new(out: W, metrics: &[String]) -> anyhow::Result<Self> {
        let mut writer = csv::Writer::from_writer(out);
        let columns = columns::of(None, &[], metrics);
        writer.write_record(columns.iter().map(|column| column.name.as_str()))?;
        Ok(Self(writer))
    }
}

impl<W: Write> Sink for CsvSink<W> {
    fn write(&mut self, columns: &[Column]) -> anyhow::Result<()> {
        let rows = columns.first().map_or(0, Column::len);
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
