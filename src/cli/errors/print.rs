//! What a person reads.

use super::Frames;
use crate::{
    diagnosis::{Source, causes, printable, seen},
    errortrace::{Explanation, Frame, Group, Report, Status, Traceback},
};
use std::io::{self, IsTerminal, Write};

/// Colours, when a person looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colour(bool);

impl Colour {
    /// Colours, unless NO_COLOR is set or stdout is no terminal.
    pub(super) fn detect() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self(wanted && io::stdout().is_terminal())
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

pub(super) fn print_causes(
    sources: &[Source],
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let causes = causes(sources);
    let failed: usize = causes.iter().map(|cause| cause.names.len()).sum();
    writeln!(
        out,
        "{} failed of {}, {}",
        failed,
        plural(sources.len(), "log", "logs"),
        plural(causes.len(), "cause", "causes"),
    )?;
    for (number, cause) in causes.iter().enumerate() {
        writeln!(out)?;
        writeln!(
            out,
            "{}. {} {} in {}",
            number + 1,
            colour.red(cause.class.as_str()),
            colour.dim(&format!("({})", cause.subtype)),
            plural(cause.names.len(), "experiment", "experiments"),
        )?;
        writeln!(out, "   {}", colour.bold(&printable(&cause.message, 200)))?;
        writeln!(out, "   {}", printable(&what(&cause.description), 300))?;
        for suggestion in cause.suggestions.iter().take(3) {
            writeln!(out, "   - {}", printable(suggestion, 300))?;
        }
        for name in cause.names.iter().take(5) {
            writeln!(out, "     {}", printable(name, 200))?;
        }
        if cause.names.len() > 5 {
            writeln!(out, "     and {} more", cause.names.len() - 5)?;
        }
    }
    Ok(())
}

pub(super) fn print_source(
    source: &Source,
    frames: Frames,
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let report = &source.report;
    let name = printable(&source.name, 300);
    if source.status == Status::Completed && report.has_failed() {
        writeln!(
            out,
            "{name}: complete; it met errors on the way and recovered"
        )?;
        return print_groups(report, &[], colour, out);
    }
    let Some(analysis) = &report.analysis else {
        writeln!(out, "{name}: no failure found in {} lines", report.lines)?;
        return print_groups(report, &[], colour, out);
    };
    writeln!(
        out,
        "{name}: {} {}, {} confidence, phase {}",
        colour.red(analysis.class.as_str()),
        colour.dim(&format!("({})", analysis.subtype)),
        analysis.confidence.as_str(),
        analysis.phase.as_str(),
    )?;
    writeln!(out)?;
    print_cause(source, analysis, colour, out)?;
    if let Some(traceback) = &report.traceback {
        print_traceback(traceback, frames, colour, out)?;
    }
    let root: Vec<&str> = report
        .root_cause
        .iter()
        .filter_map(|root| root.dedupe_key.as_deref())
        .collect();
    print_groups(report, &root, colour, out)
}

fn print_cause(
    source: &Source,
    analysis: &Explanation,
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let report = &source.report;
    let headline = report
        .headline()
        .or_else(|| source.summary.clone())
        .unwrap_or_default();
    writeln!(out, "  Cause  {}", colour.bold(&printable(&headline, 300)))?;
    if let Some(root) = &report.root_cause {
        if let Some(place) = &root.place {
            writeln!(out, "  Where  {}", printable(&place_text(place), 300))?;
        }
        if let Some(group) = root
            .dedupe_key
            .as_ref()
            .and_then(|key| report.groups.iter().find(|group| &group.key == key))
        {
            writeln!(out, "  Seen   {}", seen(group))?;
        }
    }
    writeln!(
        out,
        "  What   {}",
        printable(&what(&analysis.description), 600)
    )?;
    for (number, suggestion) in analysis.suggestions.iter().enumerate() {
        let label = if number == 0 { "Try" } else { "" };
        writeln!(
            out,
            "  {label:<5}  {}. {}",
            number + 1,
            printable(suggestion, 400)
        )?;
    }
    Ok(())
}

/// A description without the message, which stands above it already.
fn what(description: &str) -> String {
    let Some((before, said)) = description.split_once(" It said: ") else {
        return description.to_owned();
    };
    match said.rfind(" The last error, ") {
        Some(at) => format!("{before}{}", &said[at..]),
        None => before.to_owned(),
    }
}

fn place_text(place: &Frame) -> String {
    let mut text = place.file.clone();
    if let Some(line) = place.line {
        text.push_str(&format!(":{line}"));
    }
    if let Some(function) = &place.function {
        text.push_str(&format!(" in {function}"));
    }
    text
}

fn print_traceback(
    traceback: &Traceback,
    frames: Frames,
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if traceback
        .exceptions
        .iter()
        .all(|raised| raised.frames.is_empty())
    {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "  Traceback")?;
    for raised in &traceback.exceptions {
        let mut hidden = 0;
        let any_app = raised.frames.iter().any(Frame::is_app);
        for (at, frame) in raised.frames.iter().enumerate() {
            let last = at + 1 == raised.frames.len();
            if frames == Frames::App && any_app && !frame.is_app() && !last {
                hidden += 1;
                continue;
            }
            if hidden > 0 {
                writeln!(
                    out,
                    "    {}",
                    colour.dim(&format!("... {hidden} library frames"))
                )?;
                hidden = 0;
            }
            writeln!(out, "    {}", printable(&place_text(frame), 300))?;
            if let Some(code) = frame.code.as_deref().and_then(|code| code.lines().next()) {
                writeln!(out, "      {}", colour.dim(&printable(code, 200)))?;
            }
            if frame.repeated > 0 {
                writeln!(
                    out,
                    "      {}",
                    colour.dim(&format!("repeated {} more times", frame.repeated))
                )?;
            }
        }
        writeln!(
            out,
            "    {}",
            colour.bold(&printable(&raised.headline(), 300))
        )?;
    }
    Ok(())
}

fn print_groups(
    report: &Report,
    known: &[&str],
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    const MAX: usize = 10;
    let others: Vec<&Group> = report
        .groups
        .iter()
        .filter(|group| !known.contains(&group.key.as_str()))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "  Also seen")?;
    for group in others.iter().take(MAX) {
        let level = if group.is_error { "" } else { "warning: " };
        writeln!(
            out,
            "    {:>5}x  line {:<7} {}{}",
            group.count,
            group.lines.first().copied().unwrap_or(0),
            colour.dim(level),
            printable(&group.message, 140),
        )?;
    }
    if others.len() > MAX {
        writeln!(out, "    and {} more kinds", others.len() - MAX)?;
    }
    if report.dropped > 0 {
        writeln!(
            out,
            "    {} further errors were too different to keep apart and are not listed",
            report.dropped
        )?;
    }
    Ok(())
}
