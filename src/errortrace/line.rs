//! What carriers put around a line: colours, ranks, Ray, srun, containers.

use memchr::{memchr, memmem};
use std::borrow::Cow;

/// A line without its carriers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clean<'a> {
    /// Which writer it came from: equal for equal carriers, 0 without any.
    pub stream: u64,
    /// The rank, where a carrier names one.
    pub rank: Option<u32>,
    /// How many equal lines it stands for (`[repeated 7x across cluster]`).
    pub count: u64,
    /// The text.
    pub text: Cow<'a, [u8]>,
}

/// Takes colours and carriers off `line`.
pub(super) fn clean(line: &[u8]) -> Clean<'_> {
    let mut text = strip_colours(line);
    let (count, shorter) = repeated(&text);
    if let Some(shorter) = shorter {
        text = match text {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..shorter]),
            Cow::Owned(mut bytes) => {
                bytes.truncate(shorter);
                Cow::Owned(bytes)
            }
        };
    }
    let mut at = 0;
    let mut stream = 0u64;
    let mut rank = None;
    // Carriers stack (`[default3]:(Worker pid=7) `); more than a few do not.
    for _ in 0..4 {
        let Some(found) = carrier(&text[at..]) else {
            break;
        };
        stream = fnv(&text[at..at + found.label], stream.max(1));
        rank = rank.or(found.rank);
        at += found.len;
    }
    let text = match text {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[at..]),
        Cow::Owned(mut bytes) => {
            bytes.drain(..at);
            Cow::Owned(bytes)
        }
    };
    Clean {
        stream,
        rank,
        count,
        text,
    }
}

fn fnv(bytes: &[u8], seed: u64) -> u64 {
    bytes
        .iter()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Removes terminal escapes, and `[36m` whose escape byte a copy has lost.
fn strip_colours(line: &[u8]) -> Cow<'_, [u8]> {
    let escaped = memchr(0x1b, line).is_some();
    if !escaped && memmem::find(line, b"[0m").is_none() {
        return Cow::Borrowed(line);
    }
    let mut out = Vec::with_capacity(line.len());
    let mut at = 0;
    while at < line.len() {
        let byte = line[at];
        let sequence = match byte {
            0x1b => Some(escape_len(&line[at..])),
            b'[' => bare_colour_len(&line[at..]),
            _ => None,
        };
        match sequence {
            Some(len) => at += len,
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// Length of the escape sequence at the start of `text`, which is ESC.
fn escape_len(text: &[u8]) -> usize {
    match text.get(1) {
        Some(b'[') => text[2..]
            .iter()
            .take(32)
            .position(|byte| (0x40..=0x7e).contains(byte))
            .map_or(2, |end| end + 3),
        Some(b']') => text
            .iter()
            .take(4096)
            .position(|byte| *byte == 0x07)
            .map_or(2, |end| end + 1),
        Some(_) => 2,
        None => 1,
    }
}

/// Length of `[1;36m` at the start of `text`.
fn bare_colour_len(text: &[u8]) -> Option<usize> {
    let digits = text[1..]
        .iter()
        .take(12)
        .take_while(|byte| byte.is_ascii_digit() || **byte == b';')
        .count();
    (digits > 0 && text.get(1 + digits) == Some(&b'm')).then_some(digits + 2)
}

/// The hidden count at the end of a line, and where the text ends without it.
fn repeated(text: &[u8]) -> (u64, Option<usize>) {
    let trimmed = text.trim_ascii_end();
    let Some(body) = trimmed.strip_suffix(b"x across cluster]") else {
        // Ray adds a hint to the first of these lines of a run.
        let tail_from = trimmed.len().saturating_sub(400);
        return match memmem::find(&trimmed[tail_from..], b"x across cluster]") {
            Some(at) => repeated(&trimmed[..tail_from + at + b"x across cluster]".len()]),
            None => (1, None),
        };
    };
    let digits = body
        .iter()
        .rev()
        .take(9)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (head, number) = body.split_at(body.len() - digits);
    let Some(head) = head.strip_suffix(b"[repeated ") else {
        return (1, None);
    };
    let count = number
        .iter()
        .fold(0u64, |sum, byte| sum * 10 + u64::from(byte - b'0'));
    (count.max(1), Some(head.trim_ascii_end().len()))
}

struct Carrier {
    /// Bytes to take off.
    len: usize,
    /// Bytes of it that name the writer.
    label: usize,
    rank: Option<u32>,
}

fn number(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    bytes.iter().try_fold(0u32, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u32::from(byte - b'0'))
    })
}

fn carrier(text: &[u8]) -> Option<Carrier> {
    match text.first()? {
        b'[' => bracket(text),
        b'(' => ray(text),
        b' ' | b'0'..=b'9' => srun(text),
        byte if byte.is_ascii_alphabetic() => host(text).or_else(|| container(text)),
        _ => None,
    }
}

/// `[rank0]: `, `[default0]:`, `[1,0]<stderr>: `, `[0]: text`.
fn bracket(text: &[u8]) -> Option<Carrier> {
    let end = memchr(b']', &text[..text.len().min(24)])?;
    let inner = &text[1..end];
    let rank = [&b"rank"[..], b"default", b"Rank ", b"rank "]
        .iter()
        .filter_map(|word| inner.strip_prefix(*word))
        .find_map(number);
    let mut len = end + 1;
    if let Some(rank) = rank {
        if text.get(len) == Some(&b':') {
            len += 1;
        }
        if text.get(len) == Some(&b' ') {
            len += 1;
        }
        return Some(Carrier {
            len,
            label: end,
            rank: Some(rank),
        });
    }
    if let Some(comma) = memchr(b',', inner)
        && let (Some(_), Some(rank)) = (number(&inner[..comma]), number(&inner[comma + 1..]))
    {
        let rest = &text[len..];
        for tag in [&b"<stderr>:"[..], b"<stdout>:"] {
            if rest.starts_with(tag) {
                len += tag.len();
                if text.get(len) == Some(&b' ') {
                    len += 1;
                }
                return Some(Carrier {
                    len,
                    label: end,
                    rank: Some(rank),
                });
            }
        }
    }
    // `[0]:` alone is a row of torchelastic's table, with text it is a rank.
    let rank = number(inner)?;
    let rest = text.get(len..)?.strip_prefix(b":")?;
    let spaces = usize::from(rest.first() == Some(&b' '));
    (rest.len() > spaces && rank < 100_000).then_some(Carrier {
        len: len + 1 + spaces,
        label: end,
        rank: Some(rank),
    })
}

/// `(EngineCore pid=1) `, `(pid=12, ip=10.0.0.1) `, `(raylet) `.
fn ray(text: &[u8]) -> Option<Carrier> {
    let end = memchr(b')', &text[..text.len().min(160)])?;
    let inner = &text[1..end];
    let named = memmem::find(inner, b"pid=")
        .is_some_and(|at| inner.get(at + 4).is_some_and(|byte| byte.is_ascii_digit()));
    let known = [
        &b"raylet"[..],
        b"autoscaler",
        b"gcs_server",
        b"EngineCore",
        b"APIServer",
        b"Worker",
    ];
    if !named && !known.iter().any(|name| inner.starts_with(name)) {
        return None;
    }
    let len = end + 1 + usize::from(text.get(end + 1) == Some(&b' '));
    Some(Carrier {
        len,
        label: end,
        rank: None,
    })
}

/// `0: text`, as `srun --label` writes it; deeper indented is a backtrace.
fn srun(text: &[u8]) -> Option<Carrier> {
    let indent = usize::from(text.first() == Some(&b' '));
    let digits = text[indent..]
        .iter()
        .take(5)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let rank = number(&text[indent..indent + digits])?;
    let rest = text.get(indent + digits..)?.strip_prefix(b": ")?;
    (!rest.is_empty()).then_some(Carrier {
        len: indent + digits + 2,
        label: indent + digits,
        rank: Some(rank),
    })
}

/// `worker-0: text`, as pdsh writes it: lower case, ends with a digit.
fn host(text: &[u8]) -> Option<Carrier> {
    let end = memchr(b':', &text[..text.len().min(48)])?;
    let name = &text[..end];
    let fits = name.last().is_some_and(u8::is_ascii_digit)
        && name
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
    let rest = &text[end + 1..];
    (fits && rest.len() > 1 && rest[0] == b' ').then_some(Carrier {
        len: end + 2,
        label: end,
        rank: None,
    })
}

/// `trainer-1  | text` and `trainer  | text`, as container tools write it.
fn container(text: &[u8]) -> Option<Carrier> {
    let end = memmem::find(&text[..text.len().min(64)], b" | ")?;
    let name = text[..end].trim_ascii_end();
    let digits = name
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let numbered = digits > 0
        && name
            .len()
            .checked_sub(digits + 1)
            .is_some_and(|separator| matches!(name[separator], b'-' | b'_'));
    // Without a number it is padded, and a level is no container.
    let padded = end > name.len()
        && !name.iter().any(u8::is_ascii_uppercase)
        && super::header::level(name).is_none();
    let fits = (numbered || padded)
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    fits.then_some(Carrier {
        len: end + 3,
        label: name.len(),
        rank: None,
    })
}
