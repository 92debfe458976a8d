//! Reading values out of the tree, with every mistake reported where it
//! stands and reading going on behind it.

use super::{
    diagnostic::{Diagnostic, Severity, nearest},
    keys::{self, Key, Status},
    report::Report,
    yaml::{Node, Place, Value},
};
use std::fmt::Display;

impl Value {
    /// The value in a sentence.
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "an empty value".to_owned(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::Int(_, text) | Self::Float(_, text) => format!("the number {text}"),
            Self::Text(text) => format!("'{}'", shorten(text)),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The value as written, for diagnostics; empty for collections.
    pub fn written(&self) -> String {
        match self {
            Self::Null | Self::List(_) | Self::Map(_) => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Int(_, text) | Self::Float(_, text) | Self::Text(text) => shorten(text),
        }
    }
}

/// At most sixty characters, without line breaks.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(60)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(60).is_some() {
        short.push_str("...");
    }
    short
}

/// A value, with where it stands and how one gets there.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub node: &'a Node,
    pub path: String,
    pub report: &'a Report<'a>,
}

impl<'a> At<'a> {
    pub fn place(&self) -> Place {
        self.node.place
    }

    pub fn error(&self, message: impl Into<String>, fix: Option<String>) {
        self.report.error(
            self.node.place,
            &self.path,
            &self.node.value.written(),
            message.into(),
            fix,
        );
    }

    pub fn warning(&self, message: impl Into<String>, fix: Option<String>) {
        self.report.warning(
            self.node.place,
            &self.path,
            &self.node.value.written(),
            message.into(),
            fix,
        );
    }

    /// A diagnostic of this value, still without a message.
    pub fn about(&self, severity: Severity) -> Diagnostic {
        let value = self.node.value.written();
        self.report
            .about(self.node.place, &self.path, &value, severity)
    }

    /// Reports that something else was expected.
    pub fn expected(&self, what: &str, fix: Option<String>) {
        let found = self.node.value.describe();
        self.error(format!("expected {what}, found {found}"), fix);
    }

    /// Text that is not empty.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) if text.trim().is_empty() => {
                self.error(
                    "the text is empty",
                    Some("write something, or remove the key".into()),
                );
                None
            }
            Value::Text(text) => Some(text),
            Value::Int(_, text) | Value::Float(_, text) => {
                self.expected("text", Some(format!("put it in quotes: '{text}'")));
                None
            }
            Value::Bool(value) => {
                self.expected("text", Some(format!("put it in quotes: '{value}'")));
                None
            }
            _ => {
                self.expected("text", None);
                None
            }
        }
    }

    /// A boolean; the words of YAML 1.1 count, as older studies use them.
    pub fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => Some(true),
                "no" | "off" | "false" => Some(false),
                _ => {
                    self.expected("true or false", None);
                    None
                }
            },
            _ => {
                self.expected("true or false", None);
                None
            }
        }
    }

    /// A whole number of at least `min`.
    pub fn integer(&self, min: i64) -> Option<usize> {
        let number = match &self.node.value {
            Value::Int(number, _) => Some(*number),
            // 100.0 is a whole number to whoever wrote it.
            Value::Float(number, _) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Some(*number as i64)
            }
            _ => None,
        };
        match number {
            Some(number) if number >= min => usize::try_from(number).ok(),
            Some(_) => {
                let written = self.node.value.written();
                self.error(
                    format!("{written} is too small"),
                    Some(format!("the least is {min}")),
                );
                None
            }
            None => {
                let quoted = match &self.node.value {
                    Value::Text(text) if text.trim().parse::<i64>().is_ok() => {
                        Some("remove the quotes".to_owned())
                    }
                    _ => None,
                };
                self.expected("a whole number", quoted);
                None
            }
        }
    }

    /// A finite number between `min` and `max`, both allowed.
    pub fn number(&self, min: f64, max: f64) -> Option<f64> {
        let number = match &self.node.value {
            Value::Int(number, _) => *number as f64,
            Value::Float(number, _) => *number,
            _ => {
                self.expected("a number", None);
                return None;
            }
        };
        if number.is_finite() && number >= min && number <= max {
            return Some(number);
        }
        let fix = match max.is_finite() {
            true => format!("it has to be between {min} and {max}"),
            false => format!("it has to be at least {min}"),
        };
        self.error(
            format!("{} is out of range", self.node.value.written()),
            Some(fix),
        );
        None
    }

    /// One of some words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let found = match &self.node.value {
            Value::Text(text) => choices.iter().find(|(word, _)| word == text),
            _ => None,
        };
        if let Some((_, value)) = found {
            return Some(*value);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.unknown("value", &words);
        None
    }

    /// Reports a value that is none of `known`.
    pub fn unknown(&self, what: &str, known: &[&str]) {
        let text = match &self.node.value {
            Value::Text(text) => text,
            other => {
                let fix = match other {
                    Value::Null => "remove the key, or write one of the words".to_owned(),
                    _ => format!("the words are {}", list_words(known)),
                };
                self.expected("a word", Some(fix));
                return;
            }
        };
        let fix = match nearest(text, known.iter().copied()) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("known are {}", list_words(known)),
        };
        self.error(format!("unknown {what} '{}'", shorten(text)), Some(fix));
    }

    /// Seconds: a number, or text such as `90s`, `30m`, `2h`, `1h 30m`.
    pub fn duration(&self) -> Option<f64> {
        let fix = || Some("write seconds, or '90s', '30m', '2h', '1h30m'".to_owned());
        let seconds = match &self.node.value {
            Value::Int(number, _) => Some(*number as f64),
            Value::Float(number, _) => Some(*number),
            Value::Text(text) => parse_duration(text),
            _ => None,
        };
        match seconds {
            Some(seconds) if seconds.is_finite() && seconds > 0.0 => Some(seconds),
            Some(_) => {
                self.error("a time has to be more than 0", fix());
                None
            }
            None => {
                self.expected("a time", fix());
                None
            }
        }
    }

    /// The items of a list.
    pub fn list(&self) -> Option<Vec<At<'a>>> {
        match &self.node.value {
            Value::List(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, node)| At {
                        node,
                        path: format!("{}[{i}]", self.path),
                        report: self.report,
                    })
                    .collect(),
            ),
            Value::Map(_) => {
                self.expected("a list", None);
                None
            }
            Value::Null => {
                self.expected(
                    "a list",
                    Some("remove the key, or give it items".to_owned()),
                );
                None
            }
            other => {
                let fix = format!("write it as a list: [{}]", other.written());
                self.expected("a list", Some(fix));
                None
            }
        }
    }

    /// The items of a list, or the value itself as the only item.
    pub fn one_or_many(&self) -> Vec<At<'a>> {
        match &self.node.value {
            Value::List(_) => self.list().unwrap_or_default(),
            _ => vec![self.clone()],
        }
    }

    /// The fields of a mapping. Unknown keys are reported at once.
    pub fn fields(&self, known: &'static [Key]) -> Option<Fields<'a>> {
        let Value::Map(entries) = &self.node.value else {
            self.expected("a mapping of keys", None);
            return None;
        };
        let fields = Fields {
            at: self.clone(),
            known,
        };
        for entry in entries {
            if self.path.is_empty() && entry.key.starts_with("x-") {
                // A place for anchors, by the convention of other YAML files.
                continue;
            }
            let path = fields.path_of(&entry.key);
            let written = entry.node.value.written();
            match known.iter().find(|key| key.name == entry.key) {
                Some(Key {
                    status: Status::Ignored(why),
                    ..
                }) => {
                    if self.report.first(format!("key {}", entry.key)) {
                        let message =
                            format!("the key is known from other tools and ignored: {why}");
                        self.report
                            .warning(entry.place, &path, &written, message, None);
                    }
                }
                Some(_) => {}
                None => {
                    let fix = unknown_key_fix(&self.path, &entry.key, known);
                    self.report
                        .error(entry.place, &path, &written, "unknown key".to_owned(), fix);
                }
            }
        }
        Some(fields)
    }
}

fn unknown_key_fix(path: &str, key: &str, known: &'static [Key]) -> Option<String> {
    let names = || {
        known
            .iter()
            .filter(|key| matches!(key.status, Status::Used))
            .map(|key| key.name)
    };
    if let Some(near) = nearest(key, names()) {
        return Some(format!("did you mean '{near}'?"));
    }
    let flat = key.to_lowercase();
    let homes = || {
        keys::TABLES
            .iter()
            .filter(|(_, table)| table.iter().any(|other| other.name == flat))
    };
    // A key of the section around this one only stands too deep.
    let section = path.split(['.', '[']).next().unwrap_or_default();
    let around = format!("under {section}");
    let home = homes()
        .find(|(home, _)| *home == around && path != section)
        .or_else(|| homes().next());
    let names: Vec<&str> = names().collect();
    Some(match home {
        Some((home, _)) => format!("'{flat}' belongs {home}"),
        None if names.len() > 12 => "`ragicamp schema` lists the keys".to_owned(),
        None => format!("the keys here are {}", list_words(&names)),
    })
}

/// `a, b and c`.
pub(super) fn list_words<W: Display>(words: &[W]) -> String {
    match words {
        [] => "none".to_owned(),
        [only] => only.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(W::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

fn parse_duration(text: &str) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    if let Ok(seconds) = text.parse::<f64>() {
        return Some(seconds);
    }
    let (mut total, mut number) = (0.0, String::new());
    let mut unit = String::new();
    let mut finish = |number: &mut String, unit: &mut String| -> Option<()> {
        let scale = match unit.as_str() {
            "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        number.clear();
        unit.clear();
        Some(())
    };
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        if c.is_ascii_digit() || c == '.' {
            if !unit.is_empty() {
                finish(&mut number, &mut unit)?;
            }
            number.push(c);
        } else {
            unit.push(c);
        }
    }
    finish(&mut number, &mut unit)?;
    Some(total)
}

/// The fields of a mapping.
pub(super) struct Fields<'a> {
    pub at: At<'a>,
    known: &'static [Key],
}

impl<'a> Fields<'a> {
    /// The value of a key; `None` when it is missing or null.
    pub fn get(&self, key: &str) -> Option<At<'a>> {
        debug_assert!(
            self.known.iter().any(|known| known.name == key),
            "'{key}' is missing in its table"
        );
        let Value::Map(entries) = &self.at.node.value else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        match entry.node.value {
            Value::Null => None,
            _ => Some(At {
                node: &entry.node,
                path: self.path_of(key),
                report: self.at.report,
            }),
        }
    }

    /// The value of a key that has several names. Giving two is an error.
    pub fn either(&self, names: &[&str]) -> Option<At<'a>> {
        let mut found = names.iter().filter_map(|name| self.get(name));
        let first = found.next()?;
        if let Some(second) = found.next() {
            second.error(
                format!("this says the same as '{}'", first.path),
                Some("keep one of them".to_owned()),
            );
        }
        Some(first)
    }

    /// The value of a key that has to be there.
    pub fn required(&self, key: &str, why: &str) -> Option<At<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.at.report.error(
                self.at.place(),
                &self.path_of(key),
                "",
                format!("'{key}' is missing"),
                Some(why.to_owned()),
            );
        }
        found
    }

    fn path_of(&self, key: &str) -> String {
        match self.at.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}
