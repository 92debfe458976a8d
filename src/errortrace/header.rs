//! The logger's part of a line: time, level, module, phase.
//!
//! Loggers agree on the parts and on nothing else, so the parts are read in
//! any order, with any of the usual separators, until something is no header.

use super::timestamp;
use jiff::Timestamp;
use memchr::memchr;

/// How bad a logger says a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Trace, debug, info, notice.
    Calm,
    /// A warning.
    Warning,
    /// An error, or worse.
    Error,
}

/// What a logger wrote before the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// When.
    pub time: Option<Timestamp>,
    /// How bad.
    pub level: Option<Level>,
    /// Logger, target, or source file.
    pub module: Option<String>,
    /// The phase of our own format.
    pub phase: Option<String>,
    /// Where the message starts; 0 when there is no header.
    pub message: usize,
    /// True when a time or a bracketed level shows that a logger wrote it, so
    /// that lines without a header belong to it.
    pub structured: bool,
}

impl Header {
    /// Whether the line had one.
    pub(super) fn is_some(&self) -> bool {
        self.message > 0 || self.level.is_some()
    }
}

/// The level that a word names.
pub(super) fn level(word: &[u8]) -> Option<Level> {
    let mut lower = [0u8; 8];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"error" | b"err" | b"critical" | b"crit" | b"fatal" | b"severe" | b"panic" | b"alert"
        | b"emerg" => Level::Error,
        b"warning" | b"warn" => Level::Warning,
        b"info" | b"debug" | b"trace" | b"notice" | b"success" | b"verbose" => Level::Calm,
        _ => return None,
    })
}

fn word_len(text: &[u8]) -> usize {
    text.iter()
        .take(9)
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.-:/<>$@".contains(&byte)
}

fn is_name(text: &[u8]) -> bool {
    !text.is_empty()
        && text.len() <= 120
        && text.iter().all(|byte| is_name_byte(*byte))
        && text.iter().any(u8::is_ascii_alphabetic)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads the header of `line`, whose colours and carriers are gone.
pub(super) fn parse(line: &[u8]) -> Header {
    if let Some(header) = glog(line).or_else(|| tool(line)) {
        return header;
    }
    let mut header = Header::default();
    let mut at = 0;
    let mut colon_level = false;
    for _ in 0..10 {
        at += separators(&line[at..], header.time.is_some() || header.level.is_some());
        let rest = &line[at..];
        let Some(first) = rest.first() else {
            break;
        };
        if let Some(len) = token(rest, *first, &mut header, &mut colon_level) {
            at += len;
            header.message = at;
        } else {
            break;
        }
    }
    if header.message > 0 {
        header.message = message_start(line, header.message);
        if header.time.is_none() && header.level.is_none() && !header.structured {
            return Header::default();
        }
    }
    header
}

/// Spaces, and once something was read also dashes, pipes and colons.
fn separators(text: &[u8], started: bool) -> usize {
    let mut at = text.iter().take_while(|byte| **byte == b' ').count();
    if !started {
        // An indented line is no record of its own.
        return if at > 1 { 0 } else { at };
    }
    for _ in 0..3 {
        let rest = &text[at..];
        let mark = match rest {
            [b'-' | b'|' | b':', b' ', ..] | [b'|', ..] => 1,
            [b'>', b'>', b' ', ..] => 2,
            _ => break,
        };
        at += mark;
        at += text[at..].iter().take_while(|byte| **byte == b' ').count();
    }
    at
}

/// Where the message starts after the last token, which ends at `end`: one
/// separator further, so that an indentation behind it survives.
fn message_start(line: &[u8], end: usize) -> usize {
    let rest = &line[end..];
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    for mark in [&b"- "[..], b"| ", b">> ", b": ", b":: ", b"-- "] {
        if rest[spaces..].starts_with(mark) {
            return end + spaces + mark.len();
        }
    }
    if let Some(after) = rest.strip_prefix(b":") {
        return end + 1 + usize::from(after.first() == Some(&b' '));
    }
    end + usize::from(spaces > 0)
}

/// One token of a header at the start of `rest`; its length.
fn token(rest: &[u8], first: u8, header: &mut Header, colon_level: &mut bool) -> Option<usize> {
    if first == b'[' {
        return bracket(rest, header);
    }
    if header.time.is_none()
        && !header.structured_time()
        && let Some(stamp) = timestamp::parse(rest)
    {
        header.time = stamp.moment;
        header.structured = true;
        return Some(stamp.len + syslog_origin(rest, stamp.len, header));
    }
    let started = header.structured || header.level.is_some();
    if header.level.is_none() {
        let len = word_len(rest);
        let word = &rest[..len];
        if let Some(found) = level(word)
            && level_stands_alone(rest, len, started)
        {
            header.level = Some(found);
            // `ERROR:root:message` and `ERROR:2025-11-19 ...`, but in
            // `ERROR: message` the message follows.
            *colon_level =
                rest.get(len) == Some(&b':') && rest.get(len + 1).is_some_and(|byte| *byte != b' ');
            return Some(len + usize::from(*colon_level));
        }
        // One letter, as TensorFlow and XLA write it after the time.
        if started
            && let [letter @ (b'E' | b'F' | b'W' | b'I'), b' ', ..] = rest
            && rest.len() > 2
        {
            header.level = Some(letter_level(*letter));
            return Some(1);
        }
    }
    if started && header.module.is_none() {
        return module(rest, header, *colon_level);
    }
    None
}

impl Header {
    /// A time without a date has no moment, and yet it was read.
    fn structured_time(&self) -> bool {
        self.structured && self.level.is_none() && self.module.is_none()
    }
}

fn letter_level(letter: u8) -> Level {
    match letter {
        b'E' | b'F' => Level::Error,
        b'W' => Level::Warning,
        _ => Level::Calm,
    }
}

/// Whether the level word of `len` bytes is a level and not a word.
fn level_stands_alone(rest: &[u8], len: usize, started: bool) -> bool {
    let upper = rest[..len].iter().all(u8::is_ascii_uppercase);
    match rest.get(len) {
        None => upper && started,
        Some(b':') => true,
        Some(b' ' | b'|' | b']' | b'\t') => upper || started,
        Some(b'-' | b'(') => upper,
        _ => false,
    }
}

/// `host proc[pid]:` after a syslog time: its length.
fn syslog_origin(rest: &[u8], stamp_len: usize, header: &mut Header) -> usize {
    if !rest.first().is_some_and(u8::is_ascii_uppercase) {
        return 0;
    }
    let after = &rest[stamp_len..];
    let Some(end) = memchr(b':', &after[..after.len().min(120)]) else {
        return 0;
    };
    let words: Vec<&[u8]> = after[..end]
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
        .collect();
    if words.len() != 2 {
        return 0;
    }
    let name = words[1]
        .split(|byte| *byte == b'[')
        .next()
        .unwrap_or(words[1]);
    if !is_name(name) {
        return 0;
    }
    header.module = Some(text(name));
    end + 1
}

/// A module name in front of a message.
fn module(rest: &[u8], header: &mut Header, colon_level: bool) -> Option<usize> {
    let mut len = rest
        .iter()
        .take(121)
        .take_while(|byte| is_name_byte(**byte))
        .count();
    if len == 0 || len > 120 {
        return None;
    }
    let followed = &rest[len..];
    if followed.starts_with(b" - ") || followed.starts_with(b" | ") || followed.starts_with(b"] ") {
        let name = &rest[..len];
        if !is_name(name) {
            return None;
        }
        header.module = Some(text(name));
        return Some(len + usize::from(followed.starts_with(b"]")));
    }
    // `name: message` and `name:message`.
    let colon = if rest[..len].ends_with(b":") {
        len - 1
    } else if colon_level {
        memchr(b':', &rest[..len])?
    } else {
        return None;
    };
    let name = &rest[..colon];
    if !is_name(name) || name.ends_with(b":") || super::exception::looks_typed(name) {
        return None;
    }
    // `Error: file: what` has no module, `ERROR:root:what` has one.
    if header.level.is_some() && !header.structured && !colon_level {
        return None;
    }
    header.module = Some(text(name));
    len = colon;
    Some(len)
}

/// A bracketed token.
fn bracket(rest: &[u8], header: &mut Header) -> Option<usize> {
    let end = memchr(b']', &rest[..rest.len().min(130)])?;
    let inner = rest[1..end].trim_ascii();
    let len = end + 1;
    if inner.is_empty() {
        return None;
    }
    if let Some(stamp) = timestamp::parse(inner) {
        if header.time.is_none() {
            header.time = stamp.moment;
        }
        header.structured = true;
        // `[2024-01-01T00:00:00Z ERROR target]`.
        let mut words = inner[stamp.len..]
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty());
        if let Some(found) = words.next().and_then(level) {
            header.level = Some(found);
            if let Some(name) = words.next().filter(|name| is_name(name)) {
                header.module = Some(text(name));
            }
        }
        return Some(len);
    }
    if header.level.is_none() {
        if let Some(found) = level(inner) {
            header.level = Some(found);
            header.structured = true;
            return Some(len);
        }
        // `[WARNING|logging.py:328]`.
        if let Some(bar) = memchr(b'|', inner)
            && let Some(found) = level(inner[..bar].trim_ascii())
        {
            header.level = Some(found);
            header.module = Some(text(inner[bar + 1..].trim_ascii()));
            header.structured = true;
            return Some(len);
        }
        if let Some(found) = torch_native(inner) {
            header.level = Some(found);
            header.module = inner.rsplit(|byte| *byte == b' ').next().map(text);
            header.structured = true;
            return Some(len);
        }
        // `[ERROR 12:00:00 file.py:3]` and `[ERROR] `-like with a module.
        let word = word_len(inner);
        if inner.get(word) == Some(&b' ')
            && inner[..word].iter().all(u8::is_ascii_uppercase)
            && let Some(found) = level(&inner[..word])
        {
            header.level = Some(found);
            header.structured = true;
            return Some(len);
        }
        // dmesg: seconds since boot.
        if let Some(dot) = memchr(b'.', inner)
            && dot > 0
            && inner[..dot]
                .trim_ascii_start()
                .iter()
                .all(u8::is_ascii_digit)
            && inner.len() == dot + 7
            && inner[dot + 1..].iter().all(u8::is_ascii_digit)
        {
            header.structured = true;
            return Some(len);
        }
    }
    if !is_name(inner) {
        return None;
    }
    if header.structured {
        if header.module.is_none() {
            header.module = Some(text(inner));
            return Some(len);
        }
        if header.level.is_some()
            && header.phase.is_none()
            && inner
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte))
        {
            header.phase = Some(text(inner));
            return Some(len);
        }
    }
    None
}

/// `E ProcessGroupNCCL.cpp:475`, `E1210 03:58:22.000000000 file.cpp:607`.
fn torch_native(inner: &[u8]) -> Option<Level> {
    let letter = *inner.first()?;
    if !b"EFWI".contains(&letter) {
        return None;
    }
    let last = inner.rsplit(|byte| *byte == b' ').next()?;
    let colon = last.iter().rposition(|byte| *byte == b':')?;
    let line_number = &last[colon + 1..];
    let second_digit = inner.get(1)?;
    let fits = (*second_digit == b' ' || second_digit.is_ascii_digit())
        && !line_number.is_empty()
        && line_number.iter().all(u8::is_ascii_digit)
        && memchr(b'.', &last[..colon]).is_some();
    fits.then(|| letter_level(letter))
}

/// `E0504 13:28:03.097022 4786 torch/run.py:757] message`.
fn glog(line: &[u8]) -> Option<Header> {
    let letter = *line.first()?;
    if !b"EFWI".contains(&letter) || !line.get(1..5)?.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let stamp_at = match line.get(5)? {
        b' ' => 6,
        byte if byte.is_ascii_digit() => 1,
        _ => return None,
    };
    let stamp = timestamp::parse(&line[stamp_at..])?;
    let end = memchr(b']', &line[..line.len().min(400)])?;
    let source = line[..end]
        .rsplit(|byte| *byte == b' ')
        .next()
        .filter(|name| is_name(name))?;
    Some(Header {
        time: stamp.moment,
        level: Some(letter_level(letter)),
        module: Some(text(source)),
        phase: None,
        message: (end + 1 + usize::from(line.get(end + 1) == Some(&b' '))).min(line.len()),
        structured: true,
    })
}

/// `slurmstepd: error: ...`: the tool's name is part of what people search
/// for, so the message keeps it.
fn tool(line: &[u8]) -> Option<Header> {
    let name_end = memchr(b':', &line[..line.len().min(40)])?;
    let name = &line[..name_end];
    let fits = name
        .iter()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.+".contains(byte))
        && name.first().is_some_and(u8::is_ascii_lowercase);
    let rest = line.get(name_end + 1..)?.strip_prefix(b" ")?;
    let word = word_len(rest);
    if !fits || rest.get(word) != Some(&b':') {
        return None;
    }
    let found = level(&rest[..word])?;
    Some(Header {
        level: Some(found),
        module: Some(text(name)),
        ..Header::default()
    })
}
