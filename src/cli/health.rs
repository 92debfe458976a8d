//! `ragicamp health`: how studies are, and what to do about them.

mod grid;

use super::run::switch;
use crate::{
    artifacts::{Health, StudyHealth, scan, studies},
    diagnosis::printable,
    domain::{FailureClass, Phase},
    errortrace::dedupe_key,
};
use anyhow::Context;
use clap::Args;
use comfy_table::Color;
use grid::{table, width};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
};

/// Show how experiments stand, what failed and why, and which states lie.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:
  ragicamp health                                    every study below ./outputs
  ragicamp health outputs/baseline --show-failed     failures, grouped by error
  ragicamp health outputs/baseline --deep            every file, against its checksum too
  ragicamp health outputs/baseline --json | jq '.studies[].experiments[] | select(.lies != [])'

Exit code 1 when an experiment failed, or claims what is not so; 2 when DIR holds no study.")]
pub struct HealthArgs {
    /// A study's directory, an experiment's, or one with studies below it
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Group the failures by their error
    #[arg(long, env = "RAGICAMP_SHOW_FAILED", value_parser = switch)]
    pub show_failed: bool,
    /// Print JSON
    #[arg(long, env = "RAGICAMP_JSON", value_parser = switch)]
    pub json: bool,
    /// Read every file and compare them with each other and with their checksums
    #[arg(long, env = "RAGICAMP_DEEP", value_parser = switch)]
    pub deep: bool,
}

/// Prints the health of the studies to `out` and gives the exit code.
///
/// # Errors
/// When a directory can not be listed, or `out` takes no more.
pub fn run(args: &HealthArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let root = args
        .directory
        .clone()
        .unwrap_or_else(|| PathBuf::from("outputs"));
    if !root.is_dir() {
        eprintln!("error: {}", missing(&root, args.directory.is_none()));
        return Ok(2);
    }
    let found = look(&root, args.deep)?;
    // Whoever names a directory means something in it.
    let is_wrong = found.is_empty() && args.directory.is_some();
    if is_wrong {
        eprintln!(
            "error: {} holds no study: name a directory that a run made, as in outputs/STUDY",
            root.display()
        );
    }
    // As the help says, and as the summary counts.
    let failed = found
        .iter()
        .any(|study| study.is_failed() || study.claims_what_is_not_so());
    if args.json {
        print_json(&found, out)?;
    } else if found.is_empty() {
        if !is_wrong {
            writeln!(out, "No study in {}.", root.display())?;
        }
    } else {
        let style = Style::of_stdout();
        for (position, study) in found.iter().enumerate() {
            if position > 0 {
                writeln!(out)?;
            }
            print_study(study, args.show_failed, style, out)?;
        }
    }
    Ok(if is_wrong { 2 } else { u8::from(failed) })
}

fn missing(root: &Path, is_default: bool) -> String {
    if is_default {
        "there is no directory ./outputs here: name the study's directory, as in `ragicamp health path/to/outputs/STUDY`".to_owned()
    } else {
        format!("there is no directory {}", root.display())
    }
}

fn look(root: &Path, deep: bool) -> anyhow::Result<Vec<StudyHealth>> {
    // Of what can not be listed nothing is known, not even that it is one.
    if let Err(error) = std::fs::read_dir(root) {
        let message = format!(
            "can not look at {}: {error}; change its permissions, or name another directory",
            root.display()
        );
        return Err(anyhow::Error::from(error).context(message));
    }
    if let Some(health) =
        crate::artifacts::examine(&crate::artifacts::ExperimentDir::new(root), deep)
    {
        let study = root
            .canonicalize()
            .ok()
            .and_then(|path| Some(path.parent()?.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_default();
        return Ok(vec![StudyHealth {
            study,
            path: root.to_owned(),
            experiments: vec![health],
            not_started: Vec::new(),
        }]);
    }
    studies(root)
        .and_then(|paths| paths.iter().map(|path| scan(path, deep)).collect())
        .with_context(|| format!("can not look at {}", root.display()))
}

fn print_json(found: &[StudyHealth], out: &mut dyn Write) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Output<'a> {
        studies: &'a [StudyHealth],
    }
    serde_json::to_writer_pretty(&mut *out, &Output { studies: found })?;
    writeln!(out)?;
    Ok(())
}

/// How the table is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Aligned lines, for pipes and files.
    Plain,
    /// A table as wide as the terminal.
    Table {
        /// False where the environment asks for none.
        colors: bool,
    },
}

impl Style {
    fn of_stdout() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::Plain;
        }
        Self::Table {
            colors: colors(|name| std::env::var_os(name)),
        }
    }
}

/// Whether the terminal that the environment describes is to show colours.
fn colors(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && variable("TERM").is_none_or(|term| term != "dumb")
}

fn print_study(
    study: &StudyHealth,
    show_failed: bool,
    style: Style,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    writeln!(out, "{} ({})", study.study, study.path.display())?;
    let rows: Vec<Row> = study
        .experiments
        .iter()
        .map(Row::new)
        .chain(study.not_started.iter().map(|name| Row::not_started(name)))
        .collect();
    if rows.is_empty() {
        writeln!(out, "No experiment has started.")?;
        return Ok(());
    }
    match style {
        Style::Plain => print_lines(&rows, out)?,
        Style::Table { colors } => writeln!(out, "{}", table(&rows, colors, width()))?,
    }
    let lying = study.experiments.iter().filter(|one| !one.lies.is_empty());
    for health in lying {
        writeln!(out, "{}:", health.name)?;
        for lie in &health.lies {
            writeln!(out, "  {lie}")?;
        }
    }
    writeln!(out, "{}", summary(study))?;
    if show_failed {
        print_failures(study, out)?;
    }
    Ok(())
}

pub(super) const HEADER: [&str; 8] = [
    "experiment",
    "phase",
    "answered",
    "failed",
    "class",
    "last progress",
    "resume",
    "error",
];

pub(super) struct Row {
    pub cells: [String; HEADER.len()],
    pub color: Option<Color>,
}

impl Row {
    fn new(health: &Health) -> Self {
        let phase = match (health.phase, health.interrupted) {
            (None, _) => "unknown".to_owned(),
            (Some(phase), false) => phase.to_string(),
            (Some(phase), true) => format!("{phase}, interrupted"),
        };
        let resume = match &health.owner {
            Some(owner) => owner.clone(),
            None => health.what_resume_does.to_string(),
        };
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        Self {
            cells: [
                health.name.clone(),
                phase,
                format!("{}/{}", health.answered, health.total),
                health.failed_questions.to_string(),
                or_dash(health.failure_class.map(FailureClass::as_str)),
                or_dash(health.idle_seconds.map(ago).as_deref()),
                resume,
                or_dash(health.error.as_deref().map(one_line).as_deref()),
            ],
            color: match health.phase {
                _ if health.is_failed() => Some(Color::Red),
                Some(Phase::Complete) => Some(Color::Green),
                _ if !health.lies.is_empty() || health.interrupted => Some(Color::Yellow),
                _ => None,
            },
        }
    }

    fn not_started(name: &str) -> Self {
        let mut cells = [const { String::new() }; HEADER.len()].map(|_| "-".to_owned());
        cells[0] = name.to_owned();
        cells[1] = "not started".to_owned();
        cells[6] = "starts it".to_owned();
        Self { cells, color: None }
    }
}

/// A duration in the largest unit that says something.
fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

fn print_lines(rows: &[Row], out: &mut dyn Write) -> anyhow::Result<()> {
    let header = HEADER.map(str::to_owned);
    let lines = || std::iter::once(&header).chain(rows.iter().map(|row| &row.cells));
    let mut widths = [0; HEADER.len()];
    for cells in lines() {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.chars().count().max(*width);
        }
    }
    for cells in lines() {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn summary(study: &StudyHealth) -> String {
    const PHASES: [Phase; 6] = [
        Phase::Complete,
        Phase::Failed,
        Phase::ComputingMetrics,
        Phase::Generated,
        Phase::Generating,
        Phase::Init,
    ];
    let mut parts: Vec<String> = PHASES
        .into_iter()
        .map(|phase| (study.count(phase), phase))
        .filter(|(count, _)| *count > 0)
        .map(|(count, phase)| format!("{count} {phase}"))
        .collect();
    let unknown = study
        .experiments
        .iter()
        .filter(|health| health.phase.is_none())
        .count();
    if unknown > 0 {
        parts.push(format!("{unknown} unknown"));
    }
    if !study.not_started.is_empty() {
        parts.push(format!("{} not started", study.not_started.len()));
    }
    let total = study.experiments.len() + study.not_started.len();
    let plural = if total == 1 { "" } else { "s" };
    let mut text = format!("{total} experiment{plural}: {}", parts.join(", "));
    let lying = study
        .experiments
        .iter()
        .filter(|health| !health.lies.is_empty())
        .count();
    if lying > 0 {
        text.push_str(&format!("; {lying} with a state that is not so"));
    }
    text
}

/// A server's words in a line that the terminal takes no orders from.
fn one_line(text: &str) -> String {
    printable(text, usize::MAX)
}

/// Failures with the same class and the same error, numbers and paths aside,
/// as `errors` groups them; most frequent first. Missing metrics are a failure
/// here, as a run counts them.
fn print_failures(study: &StudyHealth, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut groups: BTreeMap<(&str, String), Vec<&Health>> = BTreeMap::new();
    let is_lost = |one: &&Health| one.is_failed() || one.lacks_metrics();
    for health in study.experiments.iter().filter(is_lost) {
        let class = match health.failure_class {
            Some(class) => class.as_str(),
            None if health.lacks_metrics() => "no metrics",
            None => "no class",
        };
        let key = dedupe_key(None, error_of(health));
        groups.entry((class, key)).or_default().push(health);
    }
    if groups.is_empty() {
        writeln!(out, "\nNothing failed.")?;
        return Ok(());
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    let failed: usize = groups.iter().map(|(_, members)| members.len()).sum();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    writeln!(
        out,
        "\nFailures: {failed} experiment{}, {} cause{}",
        plural(failed),
        groups.len(),
        plural(groups.len())
    )?;
    for ((class, _), members) in groups {
        let error = members.first().map_or("", |health| error_of(health));
        writeln!(out, "\n{} x [{class}] {}", members.len(), one_line(error))?;
        for health in &members {
            writeln!(
                out,
                "    {} ({}/{} answered)",
                health.name, health.answered, health.total
            )?;
        }
        if let Some(advice) = members.iter().find_map(|health| health.advice.as_ref()) {
            writeln!(out, "    {}", one_line(advice))?;
        }
        if let Some(health) = members.first() {
            writeln!(
                out,
                "    The whole error: ragicamp errors {}",
                quoted(&health.path)
            )?;
        }
    }
    writeln!(
        out,
        "\nTry again what is outstanding: ragicamp resume {}",
        quoted(&study.path)
    )?;
    Ok(())
}

fn error_of(health: &Health) -> &str {
    health.error.as_deref().unwrap_or("no error on record")
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
