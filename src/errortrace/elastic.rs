//! torchelastic's table of failed processes.

use super::{exception::Traceback, python, timestamp};
use jiff::Timestamp;

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ChildFailure {
    /// Whether it is the one that torchelastic observed first.
    pub first: bool,
    /// The rank.
    pub rank: Option<u32>,
    /// The exit code; negative for a signal.
    pub exit_code: Option<i32>,
    /// The signal's name.
    pub signal: Option<String>,
    /// When.
    pub time: Option<Timestamp>,
    /// What it said, in one line.
    pub message: Option<String>,
    /// Its traceback, where an error file recorded one.
    pub traceback: Option<Traceback>,
}

/// Reads the lines after `ChildFailedError:`.
pub(super) fn parse(lines: &[String]) -> Vec<ChildFailure> {
    let mut rows: Vec<ChildFailure> = Vec::new();
    let mut first = false;
    let mut nested: Vec<&str> = Vec::new();
    for line in lines {
        if line.starts_with("Root Cause") {
            first = true;
        }
        let is_row = line.starts_with('[') && line.ends_with("]:");
        let is_rule = line.starts_with("---") || line.starts_with("===");
        if is_row || is_rule || line.starts_with("Root Cause") {
            settle(&mut rows, &mut nested);
        }
        if is_row {
            rows.push(ChildFailure {
                first,
                ..ChildFailure::default()
            });
            continue;
        }
        if !nested.is_empty() {
            nested.push(line.strip_prefix("  ").unwrap_or(line));
            continue;
        }
        let (Some(row), Some((key, value))) = (rows.last_mut(), line.split_once(':')) else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "time" => {
                row.time = timestamp::parse(value.as_bytes()).and_then(|stamp| stamp.moment);
            }
            "rank" => row.rank = value.split(' ').next().and_then(|rank| rank.parse().ok()),
            "exitcode" => {
                row.exit_code = value.split(' ').next().and_then(|code| code.parse().ok());
                row.signal = value
                    .rsplit_once("(SIG")
                    .map(|(_, name)| format!("SIG{}", name.trim_end_matches(')')));
            }
            "traceback" if python::opening(value).is_some() => nested.push(value),
            "traceback" if !value.starts_with("To enable traceback") => {
                row.message = Some(value.to_owned());
            }
            _ => {}
        }
    }
    settle(&mut rows, &mut nested);
    rows
}

/// Gives the nested traceback's lines to the last row.
fn settle(rows: &mut [ChildFailure], nested: &mut Vec<&str>) {
    let lines = std::mem::take(nested);
    let (Some(row), Some((header, rest))) = (rows.last_mut(), lines.split_first()) else {
        return;
    };
    let Some(opening) = python::opening(header) else {
        return;
    };
    let mut reader = python::Reader::new(&opening, header);
    for line in rest {
        // The table indents by four what Python did not indent.
        let line = line.strip_prefix("  ").unwrap_or(line);
        if reader.push(line) == python::Step::Over {
            break;
        }
    }
    let (traceback, _) = reader.finish();
    if !traceback.exceptions.is_empty() {
        row.traceback = Some(traceback);
    }
}
