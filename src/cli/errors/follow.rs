//! `--follow`: a log that grows.

use super::{ErrorsArgs, print::Colour};
use crate::{
    diagnosis::{GrowingLog, printable},
    errortrace::{Context, Report},
};
use std::{collections::BTreeMap, io::Write, path::Path, time::Duration};

/// Reads a growing log and prints each kind of error when it first shows.
pub(super) fn follow(
    path: &Path,
    args: &ErrorsArgs,
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let path = if path.is_dir() {
        path.join("experiment.log")
    } else {
        path.to_owned()
    };
    let mut log = GrowingLog::new(path);
    let mut lines = 0;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut polls = 0;
    loop {
        // The file may not be there yet, or be replaced by another one.
        let report = log.report(&Context::default())?;
        if report.lines < lines {
            counts.clear();
        }
        lines = report.lines;
        print_new(&report, args, &mut counts, colour, out)?;
        out.flush()?;
        polls += 1;
        if args.polls.is_some_and(|max| polls >= max) {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn print_new(
    report: &Report,
    args: &ErrorsArgs,
    counts: &mut BTreeMap<String, u64>,
    colour: Colour,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for group in &report.groups {
        if args.class.is_some_and(|class| class != group.class) {
            continue;
        }
        let known = counts.insert(group.key.clone(), group.count).unwrap_or(0);
        if known == group.count {
            continue;
        }
        let line = group.lines.last().copied().unwrap_or(0);
        writeln!(
            out,
            "line {line}: {} {} {}",
            colour.red(group.class.as_str()),
            printable(&group.message, 200),
            colour.dim(&format!("({}x)", group.count)),
        )?;
    }
    Ok(())
}
