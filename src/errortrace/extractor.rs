//! One pass over a log of any size.

use super::{
    assembler::{Assembler, Input},
    explain::Context,
    group::Table,
    json, line, logfmt, progress,
    report::Report,
};
use memchr::{memchr, memchr_iter, memchr2, memmem, memrchr};
use regex::bytes::Regex;
use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

/// Bounds of what is kept of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Different errors kept; the first ones, and the latest few.
    pub groups: usize,
    /// Line numbers kept per error.
    pub occurrences: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            groups: 2000,
            occurrences: 200,
        }
    }
}

/// Bytes of a line that are looked at, from the first telling word on.
const MAX_LINE: usize = 16 * 1024;
/// Bytes before a telling word in which its line's start is looked for.
const MAX_LEAD: usize = 4096;
/// Bytes of text before an incident that are kept to tell its phase.
const BEFORE: usize = 600;
/// Writers told apart at a time.
const MAX_STREAMS: usize = 512;
/// Lines after which something open counts as ended.
const STALE: u64 = 3000;

/// Parts of words that a line must hold to matter while nothing is open. A
/// line that any rule or reader could start from holds one of them. They are
/// as many as the vectorised search takes: with more it becomes another, which
/// is several times slower.
const TELLING: [&str; 64] = [
    "RROR",
    "OUT_OF_M",
    "repeated",
    "refused",
    "preempt",
    "ritical",
    "FAIL",
    "erminate",
    "RITICAL",
    "victed",
    "not found",
    "ut Of Memory",
    "panic",
    "corrup",
    "quota",
    "enied",
    "imeout",
    "egmentation",
    "(): ",
    "xception",
    "OOM",
    "in use",
    "bad_alloc",
    "sufficient ",
    "ATAL",
    "NVRM",
    "LIMIT",
    "arning",
    "No such file",
    ", line ",
    "ailed",
    "imed out",
    "ore dumped",
    "ailure",
    "o space left",
    "llegal",
    "atal",
    "raceback",
    "NaN",
    "ut of memory",
    "EXHAUST",
    "fault by",
    "Xid",
    "can't ",
    "annot ",
    "nterrupt",
    "GPU is lost",
    "o CUDA-",
    "overflow",
    "bort",
    "Not enough",
    "exit",
    "is full",
    "nan",
    "WARN",
    "exceeded",
    "ssert",
    "oom",
    "SSERT",
    "Too many",
    "rror",
    "SIG",
    "ANCELLED",
    "illed",
];

static TRIGGER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pattern: Vec<String> = TELLING.iter().map(|word| regex::escape(word)).collect();
    // A test holds the pattern valid.
    Regex::new(&pattern.join("|")).ok()
});

/// Where the first telling word of `block` starts.
pub(super) fn find_telling(block: &[u8]) -> Option<usize> {
    TRIGGER.as_ref()?.find(block).map(|found| found.start())
}

/// Reads a log in pieces and keeps what is needed for its report.
#[derive(Debug, Clone)]
pub struct Extractor {
    table: Table,
    streams: HashMap<u64, Assembler>,
    /// Streams in which something is open.
    open: usize,
    /// The unfinished last line of the piece before.
    carry: Vec<u8>,
    /// The end of the block before.
    tail: Vec<u8>,
    /// True while the rest of an overlong line is passed over.
    skipping: bool,
    lines: u64,
    /// Lines that were looked at.
    looked_at: u64,
    bytes: u64,
    context: Context,
}

impl Extractor {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            table: Table::new(limits.groups, limits.occurrences),
            streams: HashMap::new(),
            open: 0,
            carry: Vec::new(),
            tail: Vec::new(),
            skipping: false,
            lines: 0,
            looked_at: 0,
            bytes: 0,
            context: Context::default(),
        }
    }

    /// Tells what is known of the study, for the advice.
    pub fn set_context(&mut self, context: Context) {
        self.context = context;
    }

    /// Lines read so far, without an unfinished one.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the next piece; it may end anywhere.
    pub fn feed(&mut self, mut piece: &[u8]) {
        self.bytes += piece.len() as u64;
        if !self.carry.is_empty() {
            let end = memchr(b'\n', piece).map_or(piece.len(), |end| end + 1);
            let mut carry = std::mem::take(&mut self.carry);
            carry.extend_from_slice(&piece[..end]);
            piece = &piece[end..];
            if carry.ends_with(b"\n") || carry.len() > 4 * MAX_LINE {
                self.block(&carry);
                carry.clear();
            }
            self.carry = carry;
        }
        let end = memrchr(b'\n', piece).map_or(0, |end| end + 1);
        let (block, rest) = piece.split_at(end);
        self.block(block);
        if rest.len() > 4 * MAX_LINE {
            self.block(rest);
        } else {
            self.carry.extend_from_slice(rest);
        }
    }

    /// The report of what was read so far, as if it ended here.
    pub fn report(&self) -> Report {
        self.clone().finish()
    }

    /// Ends the log.
    pub fn finish(mut self) -> Report {
        let carry = std::mem::take(&mut self.carry);
        if !carry.is_empty() {
            self.block(&carry);
            self.lines += 1;
        }
        let mut out = Vec::new();
        for stream in self.streams.values_mut() {
            stream.finish(&mut out);
        }
        // A map's order is not the log's.
        out.sort_by_key(|incident| incident.order);
        for incident in out {
            self.table.add(incident);
        }
        self.table.settle();
        Report::new(self.table, self.lines, self.bytes, &self.context)
    }

    /// Reads whole lines (or a part of an overlong one).
    fn block(&mut self, block: &[u8]) {
        let mut at = 0;
        while at < block.len() {
            if self.skipping {
                match memchr2(b'\n', b'\r', &block[at..]) {
                    None => break,
                    Some(end) => {
                        at = self.pass(block, at + end);
                        self.skipping = false;
                    }
                }
                continue;
            }
            let (start, look) = if self.open > 0 {
                (at, at)
            } else {
                let Some(found) = find_telling(&block[at..]) else {
                    self.count_lines(&block[at..]);
                    break;
                };
                let found = at + found;
                let lead = at.max(found.saturating_sub(MAX_LEAD));
                let start = block[lead..found]
                    .iter()
                    .rposition(|byte| matches!(byte, b'\n' | b'\r'))
                    .map_or(
                        if lead == at {
                            at
                        } else {
                            found.saturating_sub(256).max(at)
                        },
                        |separator| lead + separator + 1,
                    );
                self.count_lines(&block[at..start]);
                (start, found)
            };
            let limit = block.len().min(look + MAX_LINE);
            let end = memchr2(b'\n', b'\r', &block[look..limit]).map(|end| look + end);
            self.segment(block, start, end.unwrap_or(limit), end);
            at = match end {
                Some(end) => self.pass(block, end),
                None => {
                    self.skipping = limit < block.len() && self.open > 0;
                    limit
                }
            };
        }
        // A block may be a single line: what came before it still counts.
        let block = &block[block.len().saturating_sub(BEFORE)..];
        let old = (self.tail.len() + block.len()).saturating_sub(BEFORE);
        self.tail.drain(..old);
        self.tail.extend_from_slice(block);
    }

    fn count_lines(&mut self, bytes: &[u8]) {
        self.lines += memchr_iter(b'\n', bytes).count() as u64;
    }

    /// Steps over the separator at `end`; CR LF is one.
    fn pass(&mut self, block: &[u8], end: usize) -> usize {
        let mut at = end;
        while block.get(at) == Some(&b'\r') && matches!(block.get(at + 1), Some(b'\r' | b'\n')) {
            at += 1;
        }
        self.lines += u64::from(block.get(at) == Some(&b'\n'));
        at + 1
    }

    /// Looks at the bytes from `start` to `end`; `separator` is where the
    /// line really ends.
    fn segment(&mut self, block: &[u8], start: usize, end: usize, separator: Option<usize>) {
        let bytes = &block[start..end];
        self.looked_at += 1;
        let redrawn = separator.is_some_and(|at| {
            block.get(at) == Some(&b'\r')
                && block[at..].iter().find(|byte| **byte != b'\r') != Some(&b'\n')
        });
        if redrawn && bytes.trim_ascii().is_empty() {
            return;
        }
        let clean = line::clean(bytes);
        let mut count = clean.count;
        let mut text = String::from_utf8_lossy(&clean.text);
        if progress::is_bar(&text) {
            return;
        }
        if let Some(rest) = progress::behind_bar(&text) {
            text = Cow::Owned(rest.to_owned());
        }
        if let Some((times, inner)) = repeated(&text) {
            match inner {
                Some(inner) => {
                    count = count.max(times);
                    text = Cow::Owned(inner.to_owned());
                }
                None => {
                    self.end_stream(clean.stream);
                    if let Some(last) = self.table.groups.last_mut() {
                        last.count += times;
                    }
                    return;
                }
            }
        }
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&clean.stream) {
            self.drop_streams();
        }
        let tail = &self.tail;
        // Text before an error that will not be kept is not looked at.
        let full = self.table.is_full();
        let before = || {
            if full {
                String::new()
            } else {
                before(tail, &block[..start])
            }
        };
        let known_hot = self.open == 0;
        let assembler = self.streams.entry(clean.stream).or_default();
        let was_open = !assembler.is_idle();
        let mut out = Vec::new();
        let mut input = Input {
            number: self.lines + 1,
            order: self.looked_at,
            rank: clean.rank,
            count,
            text: &text,
            hot: known_hot || find_telling(text.as_bytes()).is_some(),
            before: &before,
        };
        let record = if text.starts_with('{') {
            json::parse(text.as_bytes())
        } else {
            logfmt::parse(&text)
        };
        match record {
            Some(record) if record.header.level.is_some() || record.traceback.is_some() => {
                assembler.push_json(&input, record, &mut out);
            }
            Some(record) => {
                for line in record.message.lines() {
                    input.text = line;
                    assembler.push(&input, &mut out);
                }
            }
            None => match unescaped(&text) {
                Some(lines) => {
                    for line in lines.lines() {
                        input.text = line;
                        assembler.push(&input, &mut out);
                    }
                }
                None => assembler.push(&input, &mut out),
            },
        }
        let is_open = !assembler.is_idle();
        match (was_open, is_open) {
            (false, true) => self.open += 1,
            (true, false) => self.open -= 1,
            _ => {}
        }
        for incident in out {
            self.table.add(incident);
        }
        if self.lines & 0x3ff == 0 && self.open > 0 {
            self.close_stale();
        }
    }

    /// Ends what is open in one stream.
    fn end_stream(&mut self, stream: u64) {
        let Some(assembler) = self.streams.get_mut(&stream) else {
            return;
        };
        let mut out = Vec::new();
        self.open -= usize::from(!assembler.is_idle());
        assembler.finish(&mut out);
        for incident in out {
            self.table.add(incident);
        }
    }

    /// Ends what has been open for too long without a line of its own.
    fn close_stale(&mut self) {
        let mut out = Vec::new();
        let lines = self.lines;
        for stream in self.streams.values_mut() {
            if stream.last_line().is_some_and(|last| last + STALE < lines) {
                stream.finish(&mut out);
                self.open -= 1;
            }
        }
        out.sort_by_key(|incident| incident.order);
        for incident in out {
            self.table.add(incident);
        }
    }

    /// Forgets every writer; hostile input has too many.
    fn drop_streams(&mut self) {
        let mut out = Vec::new();
        for (_, mut stream) in self.streams.drain() {
            stream.finish(&mut out);
        }
        self.open = 0;
        out.sort_by_key(|incident| incident.order);
        for incident in out {
            self.table.add(incident);
        }
    }
}

/// The last bytes before an incident, from this block and the one before.
fn before(tail: &[u8], block: &[u8]) -> String {
    let from_block = &block[block.len().saturating_sub(BEFORE)..];
    let from_tail = &tail[tail
        .len()
        .saturating_sub(BEFORE - from_block.len().min(BEFORE))..];
    let mut text = String::from_utf8_lossy(from_tail).into_owned();
    text.push_str(&String::from_utf8_lossy(from_block));
    text
}

/// syslog's hidden counts: `last message repeated 5 times` and `message
/// repeated 3 times: [ text]`.
fn repeated(text: &str) -> Option<(u64, Option<&str>)> {
    let at = text.find("message repeated ")?;
    let rest = &text[at + "message repeated ".len()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let times: u64 = rest.get(..digits)?.parse().ok()?;
    let after = rest[digits..].strip_prefix(" times")?;
    if let Some(inner) = after.strip_prefix(": [") {
        let inner = inner.trim_end();
        return Some((
            times,
            Some(inner.strip_suffix(']').unwrap_or(inner).trim_start()),
        ));
    }
    text[..at]
        .trim_end()
        .ends_with("last")
        .then_some((times, None))
}

/// The lines of a traceback that a logger has escaped into one.
fn unescaped(text: &str) -> Option<String> {
    memmem::find(text.as_bytes(), b"Traceback (most recent call last):\\n")?;
    Some(
        text.replace("\\r\\n", "\n")
            .replace("\\n", "\n")
            .replace("\\\"", "\"")
            .replace("\\'", "'")
            .replace("\\t", "\t"),
    )
}
