//! A bug report to paste.

use super::print::{printable, seen};
use crate::diagnosis::Source;

/// A bug report. A fence is longer than any in the text, so that a log can
/// not end it.
pub(super) fn markdown(source: &Source) -> String {
    let report = &source.report;
    let mut text = format!("## {}\n\n", printable(&source.name, 200));
    let Some(analysis) = &report.analysis else {
        text.push_str(&format!("No failure found in {} lines.\n", report.lines));
        return text;
    };
    text.push_str(&format!(
        "- class: `{}` (`{}`), {} confidence\n- phase: {}\n",
        analysis.class,
        analysis.subtype,
        analysis.confidence.as_str(),
        analysis.phase.as_str(),
    ));
    if let Some(group) = report.groups.first() {
        text.push_str(&format!("- seen: {}\n", seen(group)));
    }
    if let Some(headline) = report.headline() {
        text.push_str(&format!("\n{}\n", fenced(&headline)));
    }
    text.push_str(&format!("\n{}\n", printable(&analysis.description, 600)));
    if let Some(raw) = &report.raw_traceback {
        text.push_str(&format!("\n### Traceback\n\n{}\n", fenced(raw)));
    }
    if report.groups.len() > 1 {
        text.push_str("\n### Also seen\n\n");
        for group in report.groups.iter().skip(1).take(20) {
            text.push_str(&format!(
                "- {}x `{}`\n",
                group.count,
                printable(&group.message, 160).replace('`', "'"),
            ));
        }
    }
    text.push_str(&format!("\nragicamp {}\n\n", env!("CARGO_PKG_VERSION")));
    text
}

fn fenced(text: &str) -> String {
    let longest = text
        .lines()
        .map(|line| {
            line.trim_start()
                .bytes()
                .take_while(|byte| *byte == b'`')
                .count()
        })
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}", text.trim_end())
}
