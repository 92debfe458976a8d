//! `ragicamp errors`: from a log, an experiment or a study to a cause.

mod follow;
mod print;

use crate::{
    diagnosis::{self, Source, causes, markdown},
    errortrace::ErrorClass,
};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use follow::follow;
use jiff::{Span, Timestamp};
use print::{Colour, print_causes, print_source};
use serde_json::{Value, json};
use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Which frames of a traceback are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Frames {
    /// Every frame.
    All,
    /// Frames of the program itself; library frames are only counted.
    #[default]
    App,
}

/// Explain what went wrong, from any log.
#[derive(Debug, Clone, clap::Args)]
pub struct ErrorsArgs {
    /// A log, an experiment's directory, a study's directory, or - for stdin.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Print JSON in the shape of the HTTP API.
    #[arg(long)]
    pub json: bool,
    /// With --json: add subtype, root cause, chain and every occurrence.
    #[arg(long, requires = "json")]
    pub details: bool,
    /// Go on reading as the log grows; end with Ctrl-C.
    #[arg(long, short, conflicts_with_all = ["json", "copy_report"])]
    pub follow: bool,
    /// Only errors seen since: 30m, 2h, 1d, or 2025-12-10T03:58:22Z.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only errors of this class: oom_eval, oom_training, timeout,
    /// cuda_error, config_error, unknown.
    #[arg(long)]
    pub class: Option<ErrorClass>,
    /// Which frames of the traceback to show.
    #[arg(long, value_enum, default_value_t = Frames::App)]
    pub frames: Frames,
    /// Print Markdown for a bug report, with secrets masked.
    #[arg(long, conflicts_with = "json")]
    pub copy_report: bool,
    /// Polls of --follow before it ends by itself.
    #[arg(long, hide = true, requires = "follow")]
    pub polls: Option<u64>,
}

/// Exit code when nothing is left after filtering.
const NOTHING_SELECTED: u8 = 3;

/// Runs the command; the exit code. 0 means that everything was read, whether
/// or not it held errors, 3 that the filters leave nothing.
///
/// # Errors
/// When a path can not be read or `--since` is not a time.
pub fn run(args: &ErrorsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    match print(args, out) {
        // Whoever reads along (`| head`) has seen enough.
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(0)
        }
        outcome => outcome,
    }
}

/// Whether a file begins as a log may. Logs hold colours, progress bars, zeros
/// after a power cut and letters of any encoding, and hardly any other control
/// characters.
fn is_text(path: &Path) -> anyhow::Result<bool> {
    const LOOKED_AT: u64 = 1 << 16;
    let mut start = Vec::new();
    let cannot = || format!("reading {}", path.display());
    let file = std::fs::File::open(path).with_context(cannot)?;
    file.take(LOOKED_AT)
        .read_to_end(&mut start)
        .with_context(cannot)?;
    start.retain(|byte| *byte != 0);
    let odd = start
        .iter()
        .filter(|byte| matches!(byte, 0x01..=0x06 | 0x0e..=0x1a | 0x1c..=0x1f))
        .count();
    // A handful of them says nothing.
    Ok(odd < 32 || odd * 50 <= start.len())
}

fn print(args: &ErrorsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let since = args.since.as_deref().map(parse_since).transpose()?;
    let colour = Colour::detect();
    for path in args.paths.iter().filter(|path| path.is_file()) {
        if !is_text(path)? {
            bail!("{}: it is no text; name a log", path.display());
        }
    }
    if args.follow {
        let [path] = args.paths.as_slice() else {
            bail!("--follow reads one log; give one PATH");
        };
        return follow(path, args, colour, out);
    }
    let mut sources = Vec::new();
    let mut study = false;
    for path in &args.paths {
        if path == Path::new("-") {
            let read = Source::of_reader("stdin", &mut io::stdin().lock());
            sources.push(read.context("reading stdin")?);
        } else {
            study |= diagnosis::load(path, &mut sources)?;
        }
    }
    let many = study || sources.len() > 1;
    let before = sources.len();
    for source in &mut sources {
        filter(source, since, args.class);
    }
    if args.class.is_some() || since.is_some() {
        sources.retain(|source| !source.report.groups.is_empty());
        if sources.is_empty() && before > 0 {
            eprintln!("no error is left after --class and --since");
            return Ok(NOTHING_SELECTED);
        }
    }
    if args.json {
        print_json(&sources, many, args.details, out)?;
    } else if args.copy_report {
        for source in &sources {
            write!(out, "{}", markdown(source))?;
        }
    } else if many {
        print_causes(&sources, colour, out)?;
    } else if let Some(source) = sources.first() {
        print_source(source, args.frames, colour, out)?;
    }
    Ok(0)
}

/// `30m`, `2h`, `1d`, or a time; a time without a zone is UTC.
fn parse_since(text: &str) -> anyhow::Result<Timestamp> {
    let wrong =
        || format!("--since {text:?} is no time; write 30m, 2h, 1d or 2025-12-10T03:58:22Z");
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        return Ok(jiff::tz::Offset::UTC.to_timestamp(time)?);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return Ok(
            jiff::tz::Offset::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight()))?
        );
    }
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let number: i64 = number.parse().with_context(wrong)?;
    let seconds = match unit {
        "s" => number,
        "m" | "min" => number.saturating_mul(60),
        "h" => number.saturating_mul(3600),
        "d" => number.saturating_mul(86_400),
        _ => bail!(wrong()),
    };
    let span = Span::new().try_seconds(seconds).with_context(wrong)?;
    Timestamp::now().checked_sub(span).with_context(wrong)
}

/// Keeps the groups that were asked for.
fn filter(source: &mut Source, since: Option<Timestamp>, class: Option<ErrorClass>) {
    if since.is_none() && class.is_none() {
        return;
    }
    let report = &mut source.report;
    let root = report
        .root_cause
        .as_ref()
        .and_then(|root| root.dedupe_key.clone());
    let of_report = report.analysis.as_ref().map(|analysis| analysis.class);
    report.groups.retain(|group| {
        // What started it has the class of the whole failure.
        let own = if Some(&group.key) == root.as_ref() {
            of_report.unwrap_or(group.class)
        } else {
            group.class
        };
        // A log without times can not tell; its errors stay.
        since.is_none_or(|since| group.last_seen.is_none_or(|last| last >= since))
            && class.is_none_or(|class| own == class)
    });
    if root.is_some_and(|root| report.groups.iter().all(|group| group.key != root)) {
        report.analysis = None;
        report.root_cause = None;
        report.traceback = None;
        report.raw_traceback = None;
    }
}

fn contract(source: &Source, details: bool) -> anyhow::Result<Value> {
    let contract = source
        .report
        .contract(&source.name, source.status, source.summary.as_deref());
    let mut value = serde_json::to_value(contract)?;
    if details && let Some(object) = value.as_object_mut() {
        object.insert("details".to_owned(), source.report.details());
    }
    Ok(value)
}

fn print_json(
    sources: &[Source],
    many: bool,
    details: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut values = sources
        .iter()
        .map(|source| contract(source, details))
        .collect::<anyhow::Result<Vec<Value>>>()?;
    let value = if many {
        let causes: Vec<Value> = causes(sources)
            .into_iter()
            .map(|cause| {
                json!({
                    "error_type": cause.class,
                    "subtype": cause.subtype,
                    "message": cause.message,
                    "count": cause.count,
                    "jobs": cause.names,
                    "suggestions": cause.suggestions,
                })
            })
            .collect();
        json!({ "causes": causes, "jobs": values })
    } else {
        values.pop().unwrap_or(Value::Null)
    };
    serde_json::to_writer_pretty(&mut *out, &value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests;
