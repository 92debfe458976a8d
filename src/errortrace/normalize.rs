//! A message without what differs from one occurrence to the next.
//!
//! Numbers, addresses, paths, ids, sizes and times become a word in angle
//! brackets. Codes that say what went wrong (Xid, errno, exit and signal
//! numbers, HTTP status) stay.

/// Bytes of a message that are looked at; a key needs 100 characters.
const MAX_INPUT: usize = 600;

/// Words after which a number is a code and not a count.
const CODE_WORDS: [&str; 9] = [
    "xid", "errno", "code", "exitcode", "signal", "status", "error", "exit", "http",
];

/// Words whose trailing number only says which one.
const ORDINAL_WORDS: [&str; 22] = [
    "rank", "worker", "step", "layer", "gpu", "node", "thread", "process", "epoch", "iter",
    "batch", "device", "pid", "task", "job", "actor", "shard", "file", "chunk", "experts", "tid",
    "host",
];

/// Masks what differs between occurrences in the first part of `message`.
pub(super) fn normalize(message: &str) -> String {
    let mut end = message.len().min(MAX_INPUT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let text = &message[..end];
    let mut out = String::with_capacity(text.len());
    let mut previous = String::new();
    let mut xid = false;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let boundary = at == 0
            || !text[..at].ends_with(|last: char| last.is_ascii_alphanumeric() || last == '_');
        if boundary && let Some((len, mask)) = masked(rest, &previous) {
            // `Xid (PCI:0000:3b:00): 79`: the code stands behind the address.
            if xid && mask == "<n>" && !rest[..len].contains(':') {
                xid = false;
                out.push_str(&rest[..len]);
                at += len;
                continue;
            }
            out.push_str(mask);
            at += len;
            continue;
        }
        let word_len = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            .count();
        if word_len > 0 {
            let word = &rest[..word_len];
            let letters = word.trim_end_matches(|last: char| last.is_ascii_digit());
            previous.clear();
            previous.push_str(word);
            previous.make_ascii_lowercase();
            xid |= previous == "xid";
            if letters.len() < word.len()
                && ORDINAL_WORDS.contains(&letters.to_ascii_lowercase().trim_end_matches('_'))
            {
                out.push_str(letters);
                out.push_str("<n>");
            } else if let Some(masked) = counters(word) {
                out.push_str(&masked);
            } else {
                out.push_str(word);
            }
            at += word_len;
            continue;
        }
        let Some(next) = rest.chars().next() else {
            break;
        };
        if next.is_control() && !next.is_whitespace() {
            // A device number that was printed as a byte.
            out.push_str("<n>");
        } else if next.is_whitespace() {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            out.push(next);
        }
        at += next.len_utf8();
    }
    // `worker (pid(s) 12, 13)`: how many there are is no difference either.
    while out.contains("(s) <n>, <n>") {
        out = out.replace("(s) <n>, <n>", "(s) <n>");
    }
    out
}

/// `torch_<n>_<n>` for `torch_310_36814`: one number in a name may say which
/// kind, two in a row count something.
fn counters(word: &str) -> Option<String> {
    let is_number =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = word.split('_').collect();
    let two = parts.windows(2).any(|pair| pair.iter().all(is_number));
    let masked: Vec<&str> = parts
        .iter()
        .map(|part| if is_number(part) { "<n>" } else { part })
        .collect();
    two.then(|| masked.join("_"))
}

/// `Root=1-661471eb-...`, the trace id of a request.
fn trace_id(text: &str) -> Option<(usize, &'static str)> {
    let id = text.strip_prefix("Root=")?;
    let len = run(id, |byte| byte.is_ascii_hexdigit() || b"-;".contains(&byte));
    (len > 8).then_some((len + "Root=".len(), "<id>"))
}

fn run(text: &str, accept: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| accept(*byte)).count()
}

/// What stands at the start of `text`, if it is to be masked: its length and
/// its mask.
fn masked(text: &str, previous: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    let first = *bytes.first()?;
    if first.is_ascii_alphabetic() {
        return trace_id(text)
            .or_else(|| url(text))
            .or_else(|| windows_path(text))
            .or_else(|| email(text))
            .or_else(|| uuid(text))
            .or_else(|| hash(text));
    }
    if first == b'/' || first == b'~' || text.starts_with("./") || text.starts_with("../") {
        return path(text);
    }
    if !first.is_ascii_digit() {
        return None;
    }
    if text.starts_with("0x") || text.starts_with("0X") {
        let len = 2 + run(&text[2..], |byte| byte.is_ascii_hexdigit());
        return (len > 2).then_some((len, "<hex>"));
    }
    if let Some(found) = pci(text)
        .or_else(|| uuid(text))
        .or_else(|| ip(text))
        .or_else(|| date(text))
        .or_else(|| hash(text))
    {
        return Some(found);
    }
    number(text, previous)
}

fn url(text: &str) -> Option<(usize, &'static str)> {
    let scheme = run(text, |byte| byte.is_ascii_alphanumeric() || byte == b'+');
    if !text[scheme..].starts_with("://") || scheme > 12 {
        return None;
    }
    let len = run(text, |byte| {
        byte > b' ' && !b"\"'<>()[]{},;".contains(&byte)
    });
    Some((len, "<url>"))
}

fn path_byte(byte: u8) -> bool {
    byte > b' ' && !b"\"'<>()[]{},;:|`=".contains(&byte)
}

fn path(text: &str) -> Option<(usize, &'static str)> {
    let len = run(text, path_byte);
    let found = text[..len].trim_end_matches('.');
    let slashes = found.bytes().filter(|byte| *byte == b'/').count();
    (found.len() > 2 && (slashes > 1 || found.starts_with(['~', '.']) || found.contains('.')))
        .then_some((found.len(), "<path>"))
}

fn windows_path(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    if bytes.get(1) != Some(&b':') || !matches!(bytes.get(2), Some(b'\\' | b'/')) {
        return None;
    }
    let len = 2 + run(&text[2..], path_byte);
    (len > 4).then_some((len, "<path>"))
}

fn email(text: &str) -> Option<(usize, &'static str)> {
    let accept = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    let name = run(text, accept);
    let rest = text[name..].strip_prefix('@')?;
    let host = run(rest, accept);
    rest[..host]
        .trim_end_matches('.')
        .contains('.')
        .then_some((name + 1 + host, "<email>"))
}

fn uuid(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes().get(..36)?;
    let fits = bytes.iter().enumerate().all(|(at, byte)| {
        if matches!(at, 8 | 13 | 18 | 23) {
            *byte == b'-'
        } else {
            byte.is_ascii_hexdigit()
        }
    });
    fits.then_some((36, "<uuid>"))
}

/// `0000:3b:00.0`, a device's address on the bus.
fn pci(text: &str) -> Option<(usize, &'static str)> {
    let domain = run(text, |byte| byte.is_ascii_hexdigit());
    let bytes = text.as_bytes();
    let fits = matches!(domain, 4 | 8)
        && bytes.get(domain) == Some(&b':')
        && bytes.get(domain + 3) == Some(&b':')
        && [1, 2, 4, 5]
            .iter()
            .all(|at| bytes.get(domain + at).is_some_and(u8::is_ascii_hexdigit));
    if !fits || bytes.get(domain + 6).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let function = match (bytes.get(domain + 6), bytes.get(domain + 7)) {
        (Some(b'.'), Some(digit)) if digit.is_ascii_digit() => 2,
        _ => 0,
    };
    Some((domain + 6 + function, "<n>"))
}

/// A digest or another long id in hexadecimal, with digits and letters.
fn hash(text: &str) -> Option<(usize, &'static str)> {
    let len = run(text, |byte| byte.is_ascii_hexdigit());
    let word = &text.as_bytes()[..len];
    let ends = !text[len..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
    let mixed = word.iter().any(u8::is_ascii_digit) && word.iter().any(u8::is_ascii_alphabetic);
    (len >= 7 && ends && mixed).then_some((len, "<hex>"))
}

fn ip(text: &str) -> Option<(usize, &'static str)> {
    let len = run(text, |byte| byte.is_ascii_digit() || byte == b'.');
    let found = text[..len].trim_end_matches('.');
    if found.split('.').count() != 4
        || found
            .split('.')
            .any(|part| part.is_empty() || part.len() > 3)
    {
        return None;
    }
    let rest = &text[found.len()..];
    let port = rest
        .strip_prefix(':')
        .map_or(0, |rest| run(rest, |byte| byte.is_ascii_digit()));
    Some((found.len() + if port > 0 { port + 1 } else { 0 }, "<ip>"))
}

/// A date, a date with a time, or a time of day.
fn date(text: &str) -> Option<(usize, &'static str)> {
    super::timestamp::parse(text.as_bytes())
        .map(|stamp| (stamp.len, "<time>"))
        .or_else(|| {
            let len = run(text, |byte| byte.is_ascii_digit() || byte == b'-');
            let parts: Vec<usize> = text[..len].split('-').map(str::len).collect();
            (parts == [4, 2, 2]).then_some((len, "<time>"))
        })
}

fn number(text: &str, previous: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    let mut len = run(text, |byte| byte.is_ascii_digit());
    if CODE_WORDS.contains(&previous) {
        return None;
    }
    // Fractions, groups of thousands, versions and exponents.
    loop {
        match (bytes.get(len), bytes.get(len + 1)) {
            (Some(b'.' | b','), Some(next)) if next.is_ascii_digit() => {
                len += 1 + run(&text[len + 1..], |byte| byte.is_ascii_digit());
            }
            (Some(b'e' | b'E'), Some(b'-' | b'+'))
                if bytes.get(len + 2).is_some_and(u8::is_ascii_digit) =>
            {
                len += 2 + run(&text[len + 2..], |byte| byte.is_ascii_digit());
            }
            _ => break,
        }
    }
    // `4x768`, a shape.
    while bytes.get(len) == Some(&b'x') && bytes.get(len + 1).is_some_and(u8::is_ascii_digit) {
        len += 1 + run(&text[len + 1..], |byte| byte.is_ascii_digit());
    }
    let spaces = usize::from(bytes.get(len) == Some(&b' '));
    let unit_len = run(&text[len + spaces..], |byte| byte.is_ascii_alphabetic());
    let unit = &text[len + spaces..len + spaces + unit_len];
    match unit {
        "B" | "KB" | "MB" | "GB" | "TB" | "KiB" | "MiB" | "GiB" | "TiB" | "bytes" | "kB"
        | "Bytes" | "K" | "M" | "G" => return Some((len + spaces + unit_len, "<size>")),
        "s" | "ms" | "us" | "ns" | "sec" | "secs" | "seconds" | "second" | "milliseconds"
        | "minutes" | "min" | "hours" | "h" => {
            return Some((len + spaces + unit_len, "<duration>"));
        }
        _ => {}
    }
    if spaces == 0 && (unit_len > 0 || bytes.get(len) == Some(&b'_')) {
        // `8bit` and `2d` say something; an id that starts with a digit not.
        let word = run(text, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return (word >= 7).then_some((word, "<id>"));
    }
    Some((len, "<n>"))
}
