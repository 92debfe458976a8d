//! One frame of a traceback.

use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// One frame of a traceback.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Frame {
    /// The file, as the log names it.
    pub file: String,
    /// The line in it; `None` where only an address is known.
    pub line: Option<u64>,
    /// The function; `None` for a syntax error's place.
    pub function: Option<String>,
    /// The source text, lines joined; `None` when the log shows none.
    pub code: Option<String>,
    /// The line of `~~~^^^` under the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// Equal frames that the log only counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Code and marker lines kept per frame, in bytes.
const MAX_CODE: usize = 2000;

impl Frame {
    /// Whether the frame is in the program itself and not in a library.
    pub fn is_app(&self) -> bool {
        const LIBRARY: [&str; 12] = [
            "site-packages",
            "dist-packages",
            "/lib/python",
            "\\lib\\",
            "<frozen ",
            "/rustc/",
            ".cargo/registry",
            "/library/std/",
            "/library/core/",
            "/library/alloc/",
            "<string>",
            "\\Lib\\",
        ];
        !LIBRARY.iter().any(|part| self.file.contains(part))
    }

    /// Adds a line of source text or markers under the frame.
    pub(super) fn add_code(&mut self, line: &str) {
        let line = line.trim_end();
        let size = self.code.as_ref().map_or(0, String::len);
        let trimmed = line.trim_start();
        if trimmed.is_empty() || size + line.len() > MAX_CODE {
            return;
        }
        let only_marks = trimmed.bytes().all(|byte| b"~^ ".contains(&byte));
        match &mut self.code {
            Some(_) if only_marks => {
                if self.marker.is_none() {
                    self.marker = Some(line.to_owned());
                }
            }
            Some(code) => {
                code.push('\n');
                code.push_str(trimmed);
            }
            None => self.code = Some(trimmed.to_owned()),
        }
    }

    /// The frame as Python writes it.
    pub(super) fn render(&self, out: &mut String) {
        let _ = write!(out, "  File \"{}\"", self.file);
        if let Some(line) = self.line {
            let _ = write!(out, ", line {line}");
        }
        if let Some(function) = &self.function {
            let _ = write!(out, ", in {function}");
        }
        out.push('\n');
        for (number, line) in self.code.iter().flat_map(|code| code.lines()).enumerate() {
            let _ = writeln!(out, "    {line}");
            if number == 0
                && let Some(marker) = &self.marker
            {
                let _ = writeln!(out, "{marker}");
            }
        }
        if self.repeated > 0 {
            let _ = writeln!(
                out,
                "  [Previous line repeated {} more times]",
                self.repeated
            );
        }
    }
}

/// `  File "x.py", line 3, in f`, also without `in`, behind `> `, and as
/// faulthandler (`line 3 in f`) writes it.
pub(super) fn python(line: &str) -> Option<Frame> {
    let text = line.trim_start();
    let text = text.strip_prefix("> ").unwrap_or(text);
    let rest = text.strip_prefix("File \"")?;
    let (file, rest) = rest
        .rsplit_once("\", line ")
        .or_else(|| rest.split_once("\","))?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = rest.get(..digits)?.parse().ok()?;
    let after = rest.get(digits..)?;
    let function = after
        .strip_prefix(", in ")
        .or_else(|| after.strip_prefix(" in "))
        .map(|name| name.trim_end().to_owned());
    if function.is_none() && !after.trim().is_empty() {
        return None;
    }
    Some(Frame {
        file: file.to_owned(),
        line: Some(number),
        function,
        ..Frame::default()
    })
}

/// The frames of IPython: `File ~/x.py:906, in f(a, b)`, `Cell In[1], line 7`,
/// `<ipython-input-3-ab> in <module>`, `/x/y.py in f(a)`.
pub(super) fn ipython(line: &str) -> Option<Frame> {
    let cell = line
        .strip_prefix("Cell In")
        .or_else(|| line.strip_prefix("Input In"));
    if let Some(rest) = cell {
        let (cell, rest) = rest.split_once("], line ").or_else(|| {
            // `Input In [3], in <cell line: 1>()`.
            rest.split_once("], in ")
        })?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        return Some(Frame {
            file: format!("Cell In{cell}]"),
            line: digits.parse().ok(),
            function: rest
                .split_once(", in ")
                .map(|(_, name)| function_name(name)),
            ..Frame::default()
        });
    }
    if let Some(rest) = line.strip_prefix("File ") {
        let (place, function) = match rest.split_once(", in ") {
            Some((place, function)) => (place, Some(function_name(function))),
            None => (rest, None),
        };
        let (file, number) = place.rsplit_once(':')?;
        return Some(Frame {
            file: file.to_owned(),
            line: Some(number.trim().parse().ok()?),
            function,
            ..Frame::default()
        });
    }
    let (file, function) = line.split_once(" in ")?;
    let known = file.starts_with("<ipython-input-")
        || (file.ends_with(".py") && (file.starts_with('/') || file.starts_with('~')));
    (known && !file.contains(' ')).then(|| Frame {
        file: file.to_owned(),
        function: Some(function_name(function)),
        ..Frame::default()
    })
}

fn function_name(text: &str) -> String {
    let end = text.find('(').unwrap_or(text.len());
    text[..end].trim_end().to_owned()
}

/// A frame of Rich: `/x/y.py:55 in <module>`, the name perhaps on the next
/// line (then it is empty here).
pub(super) fn rich(line: &str) -> Option<Frame> {
    let text = line.trim();
    let (place, function) = match text.split_once(" in ") {
        Some((place, name)) => (place, name.trim()),
        None => (text.strip_suffix(" in")?, ""),
    };
    let (file, number) = place.rsplit_once(':')?;
    if file.is_empty() || file.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    Some(Frame {
        file: file.to_owned(),
        line: Some(number.parse().ok()?),
        function: Some(function.to_owned()),
        ..Frame::default()
    })
}
