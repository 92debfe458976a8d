//! A bug report to paste.

use super::Source;
use crate::errortrace::{Group, mask_secrets};

/// A bug report, as Markdown, with secrets masked. A fence is longer than any
/// in the text, so that a log can not end it.
pub fn markdown(source: &Source) -> String {
    mask_secrets(&unmasked(source))
}

fn unmasked(source: &Source) -> String {
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
    if let Some(group) = report.root_group() {
        text.push_str(&format!("- seen: {}\n", seen(group)));
    }
    if let Some(headline) = report.headline() {
        text.push_str(&format!("\n{}\n", fenced(&headline)));
    }
    text.push_str(&format!("\n{}\n", printable(&analysis.description, 600)));
    if let Some(raw) = &report.raw_traceback {
        text.push_str(&format!("\n### Traceback\n\n{}\n", fenced(raw)));
    }
    let root = report.root_group().map(|group| &group.key);
    let others: Vec<&Group> = report
        .groups
        .iter()
        .filter(|group| Some(&group.key) != root)
        .collect();
    if !others.is_empty() {
        text.push_str("\n### Also seen\n\n");
        for group in others.into_iter().take(20) {
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

/// `text` in one line of a bounded length that a terminal can not trip over.
pub fn printable(text: &str, max: usize) -> String {
    let mut out: String = text
        .chars()
        .take(max)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    if text.chars().count() > max {
        out.push('…');
    }
    out
}

/// `text` with its line breaks, and without what a terminal would take for an
/// order.
pub fn printable_lines(text: &str) -> String {
    let is_order = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    text.chars()
        .map(|letter| if is_order(letter) { ' ' } else { letter })
        .collect()
}

/// `7 times, lines 3, 9, 12 ..., since 2025-12-10T03:58:22Z`.
pub fn seen(group: &Group) -> String {
    let mut text = if group.count == 1 {
        "once".to_owned()
    } else {
        format!("{} times", group.count)
    };
    let lines: Vec<String> = group.lines.iter().take(5).map(u64::to_string).collect();
    let more = group.lines.len() > 5 || group.lines_dropped > 0;
    text.push_str(&format!(
        ", {} {}{}",
        if lines.len() == 1 { "line" } else { "lines" },
        lines.join(", "),
        if more { " ..." } else { "" },
    ));
    if !group.ranks.is_empty() {
        let ranks: Vec<String> = group.ranks.iter().take(8).map(u32::to_string).collect();
        text.push_str(&format!(", ranks {}", ranks.join(", ")));
    }
    match (group.first_seen, group.last_seen) {
        (Some(first), Some(last)) if first != last => {
            text.push_str(&format!(", from {first} to {last}"));
        }
        (Some(first), _) => text.push_str(&format!(", at {first}")),
        _ => {}
    }
    text
}
