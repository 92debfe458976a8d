//! Reading code: what is code and what is not, where a path leads.

/// One file of the package.
pub struct Source {
    /// Below `src`, with `/`.
    pub path: String,
    /// Without comments and the contents of literals; lines are kept.
    pub code: String,
    /// `code` without what is only compiled for tests.
    pub shipped: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank_literals(text);
        let shipped = without_tests(&code);
        Self {
            path: path.to_owned(),
            code,
            shipped,
        }
    }

    /// The room; `main` and `lib` for the two files above the rooms.
    pub fn room(&self) -> &str {
        match self.path.split_once('/') {
            Some((room, _)) => room,
            None => self.path.trim_end_matches(".rs"),
        }
    }

    /// Modules from the crate's root down to this file's own.
    pub fn depth(&self) -> usize {
        match self.path.as_str() {
            "lib.rs" | "main.rs" => 0,
            path => {
                let parts = path.split('/').count();
                // `#[path]` puts x_tests.rs below x.
                let nested = usize::from(path.ends_with("_tests.rs"));
                parts + nested - usize::from(path.ends_with("/mod.rs"))
            }
        }
    }
}

/// Replaces comments and the contents of strings and characters by blanks.
fn blank_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut blank = |from: usize, to: usize| {
        for byte in &mut out[from..to.min(bytes.len())] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let before = at.checked_sub(1).map(|before| bytes[before]);
        let in_word = before.is_some_and(is_word);
        if rest.starts_with(b"//") {
            let end = find(bytes, at, b"\n");
            blank(at, end);
            at = end;
        } else if rest.starts_with(b"/*") {
            let end = end_of_comment(bytes, at);
            blank(at, end);
            at = end;
        } else if let Some(hashes) = raw_string(rest).filter(|_| !in_word) {
            let open = find(bytes, at, b"\"") + 1;
            let close: Vec<u8> = std::iter::once(b'"').chain(vec![b'#'; hashes]).collect();
            let end = find(bytes, open, &close);
            blank(open, end);
            at = end + close.len();
        } else if rest[0] == b'"' {
            let end = end_of_quoted(bytes, at + 1, b'"');
            blank(at + 1, end);
            at = end + 1;
        } else if rest[0] == b'\'' && is_character(rest) {
            let end = end_of_quoted(bytes, at + 1, b'\'');
            blank(at + 1, end);
            at = end + 1;
        } else {
            at += 1;
        }
    }
    // Only whole characters inside literals and comments were blanked.
    String::from_utf8(out).expect("blanks are ASCII")
}

pub fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Where `what` is found next, or the end.
fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    (from..bytes.len())
        .find(|&at| bytes[at..].starts_with(what))
        .unwrap_or(bytes.len())
}

fn end_of_comment(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at.min(bytes.len())
}

fn end_of_quoted(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// The number of `#` of a raw string that starts here.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let rest = rest
        .strip_prefix(b"r")
        .or_else(|| rest.strip_prefix(b"br"))
        .or_else(|| rest.strip_prefix(b"cr"))?;
    let hashes = rest.iter().take_while(|&&byte| byte == b'#').count();
    (rest.get(hashes) == Some(&b'"')).then_some(hashes)
}

/// A character, and not a lifetime.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(&byte) if byte >= 0x80 => true,
        Some(_) => rest.get(2) == Some(&b'\''),
        None => false,
    }
}

/// Blanks what an attribute `cfg(test)` stands before.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some((from, to)) = test_item(&out) {
        let blanks: String = out[from..to]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        out.replace_range(from..to, &blanks);
    }
    out
}

/// The first item under `#[cfg(test)]`, or with test among its conditions.
pub fn test_item(code: &str) -> Option<(usize, usize)> {
    let bytes = code.as_bytes();
    let mut search = 0;
    loop {
        let from = search + code[search..].find("#[cfg(")?;
        let close = end_of_group(bytes, from + 1);
        let condition = &code[from..close];
        if words(condition).any(|(_, word)| word == "test") && !condition.contains("not(test)") {
            let mut at = close;
            // Further attributes, then the item: to `;` or the end of `{}`.
            while at < bytes.len() {
                match bytes[at] {
                    b'[' | b'(' => at = end_of_group(bytes, at),
                    b'{' => return Some((from, end_of_group(bytes, at))),
                    b';' => return Some((from, at + 1)),
                    _ => at += 1,
                }
            }
            return Some((from, bytes.len()));
        }
        search = close;
    }
}

/// After the bracket that closes the one at `from`.
fn end_of_group(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    bytes.len()
}

/// Identifiers and keywords with where they start.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = code.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && !is_word(bytes[at]) {
            at += 1;
        }
        let from = at;
        while at < bytes.len() && is_word(bytes[at]) {
            at += 1;
        }
        (from < at).then(|| (from, &code[from..at]))
    })
}

pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Every first name of a path that starts at `root::`, with its line:
/// `crate::a::B`, `crate::{a, b::{C}}`, `crate::*`; the name `*` for the
/// latter and for `use crate as x`.
pub fn paths_from(code: &str, root: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, word) in words(code) {
        if word != root {
            continue;
        }
        let after = code[at + word.len()..].trim_start();
        let line = line_of(code, at);
        if let Some(tree) = after.strip_prefix("::") {
            heads(tree.trim_start(), &mut |name| {
                found.push((line, name.to_owned()))
            });
        } else if words(after)
            .next()
            .is_some_and(|(at, word)| at == 0 && word == "as")
        {
            found.push((line, "*".to_owned()));
        }
    }
    found
}

/// The first names of a use tree.
fn heads<'a>(tree: &'a str, tell: &mut impl FnMut(&'a str)) {
    if tree.starts_with('*') {
        return tell("*");
    }
    let Some(group) = tree.strip_prefix('{') else {
        if let Some((0, name)) = words(tree).next() {
            tell(name);
        }
        return;
    };
    let end = end_of_group(tree.as_bytes(), 0)
        .saturating_sub(2)
        .min(group.len());
    let group = &group[..end];
    let mut depth = 0;
    let mut from = 0;
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads(group[from..at].trim_start(), tell);
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// Chains of `super::`, with their length, their line, and how many inline
/// modules they stand in.
pub fn supers(code: &str) -> Vec<(usize, usize, usize)> {
    let mut found = Vec::new();
    let mut modules: Vec<usize> = Vec::new();
    let all: Vec<_> = words(code).collect();
    let mut position = 0;
    while let Some(&(at, word)) = all.get(position) {
        position += 1;
        modules.retain(|&end| at < end);
        if word == "mod"
            && let Some((name_at, name)) = all.get(position)
        {
            let body = code[name_at + name.len()..].trim_start();
            if body.starts_with('{') {
                let open = code.len() - body.len();
                modules.push(end_of_group(code.as_bytes(), open));
            }
        }
        if word != "super" {
            continue;
        }
        let mut length = 1;
        let mut end = at + word.len();
        while let Some(&(next, "super")) = all.get(position)
            && code[end..next].trim() == "::"
        {
            length += 1;
            end = next + "super".len();
            position += 1;
        }
        found.push((length, line_of(code, at), modules.len()));
    }
    found
}
