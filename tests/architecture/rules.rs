//! The rules: each says what is wrong with a file.

use crate::{
    CONFINED, HOUSE, IMPURE, MAIN_KNOWS, PURE,
    code::{Source, is_word, line_of, paths_from, supers, words},
    may_know,
};

/// Paths into rooms that this file's room may not know.
pub fn forbidden_imports(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut paths = paths_from(&source.code, "crate");
    paths.extend(paths_from(&source.code, "ragicamp"));
    let from = source.room();
    for (line, to) in paths {
        let allowed = match from {
            "main" => MAIN_KNOWS.contains(&to.as_str()),
            _ => may_know(from, &to),
        };
        if !allowed {
            wrong.push(format!(
                "src/{}:{line}: {from} may not know {to}",
                source.path
            ));
        }
    }
    for (length, line, inline) in supers(&source.code) {
        if length >= source.depth() + inline {
            wrong.push(format!(
                "src/{}:{line}: super leaves the room; write crate::",
                source.path
            ));
        }
    }
    wrong
}

pub fn confined_crates(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, word) in words(&source.code) {
        for (name, rooms) in CONFINED {
            let is_it = match name.strip_suffix('*') {
                Some(family) => word.starts_with(family),
                None => word == *name,
            };
            // A crate is named where a path starts, not where one goes on.
            let starts = !source.code[..at].trim_end().ends_with("::")
                && source.code[at + word.len()..]
                    .trim_start()
                    .starts_with("::");
            if is_it && starts && !rooms.contains(&source.room()) {
                wrong.push(format!(
                    "src/{}:{}: {word} belongs in {}",
                    source.path,
                    line_of(&source.code, at),
                    rooms.join(", ")
                ));
            }
        }
    }
    wrong
}

/// An unwrap may stay where an attribute right above it gives the reason.
pub fn unwraps(source: &Source) -> Vec<String> {
    const ABOVE: usize = 3;
    let lines: Vec<&str> = source.shipped.lines().collect();
    let excused = |line: usize| {
        lines[line.saturating_sub(ABOVE)..line]
            .iter()
            .any(|above| above.contains("clippy::unwrap_used") && above.contains("reason"))
    };
    lines
        .iter()
        .enumerate()
        .filter(|(at, line)| line.contains(".unwrap()") && !excused(*at))
        .map(|(at, _)| format!("src/{}:{}: unwrap() outside of tests", source.path, at + 1))
        .collect()
}

pub fn impurities(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_pure = HOUSE
        .iter()
        .any(|room| room.name == source.room() && room.floor <= PURE);
    if !is_pure {
        return wrong;
    }
    for name in IMPURE {
        for (at, _) in source.shipped.match_indices(name) {
            let inside = at > 0 && is_word(source.shipped.as_bytes()[at - 1]);
            if !inside {
                wrong.push(format!(
                    "src/{}:{}: {} is pure and may not use {name}",
                    source.path,
                    line_of(&source.shipped, at),
                    source.room()
                ));
            }
        }
    }
    // `use std::{fs, thread}`.
    for (line, name) in paths_from(&source.shipped, "std") {
        if IMPURE.contains(&format!("std::{name}").as_str()) {
            wrong.push(format!(
                "src/{}:{line}: {} is pure and may not use std::{name}",
                source.path,
                source.room()
            ));
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

pub fn lines_of_code(source: &Source) -> usize {
    // Inline tests were blanked: they do not count, what precedes them does.
    source.shipped.trim_end().lines().count()
}
