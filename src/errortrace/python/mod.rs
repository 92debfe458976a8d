//! Reads a Python traceback line by line, in the shapes that Python, IPython,
//! Rich, loguru and exception groups give it, whole or cut.

mod group;
mod notebook;

use super::{
    exception::{self, Link, Raised, Traceback},
    frame::{self, Frame},
};

/// Frames kept per exception: half from each end.
const MAX_FRAMES: usize = 200;
/// Exceptions kept per chain: half from each end.
const MAX_CHAIN: usize = 64;
/// Lines of a message kept after the first.
const MAX_NOTES: usize = 40;
/// Exceptions kept per exception group.
const MAX_CHILDREN: usize = 32;
/// Levels of exception groups that are told apart.
const MAX_DEPTH: usize = 16;
/// Bytes of the raw text kept.
const MAX_RAW: usize = 32 * 1024;
/// Lines of torchelastic's table kept.
const MAX_TABLE: usize = 2000;
/// Lines of a message that are passed over after those that are kept.
const MAX_DUMP: u32 = 200;
/// Foreign lines in a row that end a traceback.
const MAX_FOREIGN: u32 = 15;

const HEADER: &str = "Traceback (most recent call last)";

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to the traceback.
    Taken,
    /// The traceback ended before it.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Group,
    Ipython,
    Rich,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Frames,
    After,
    Linked,
}

/// The header of a traceback in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    style: Style,
    indent: usize,
    /// Another process's traceback, inside the message before it.
    original: bool,
    /// Where in the line the header's own text starts.
    pub at: usize,
}

/// Finds a traceback's header in `line`.
pub(super) fn opening(line: &str) -> Option<Opening> {
    let at = line.find(HEADER)?;
    let before = &line[..at];
    let after = line[at + HEADER.len()..].trim();
    let trimmed = before.trim();
    let style = if before.contains('╭') || before.contains('─') {
        Style::Rich
    } else if trimmed.ends_with("Exception Group") {
        Style::Group
    } else if after.is_empty()
        && !trimmed.is_empty()
        && before.ends_with("  ")
        && trimmed
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte))
    {
        Style::Ipython
    } else if after.starts_with(':') || after.is_empty() {
        Style::Plain
    } else {
        return None;
    };
    Some(Opening {
        style,
        indent: if trimmed.is_empty() { before.len() } else { 0 },
        original: trimmed.ends_with("Original"),
        at: if style == Style::Group {
            before.rfind("Exception Group").unwrap_or(at)
        } else {
            at
        },
    })
}

/// The sentence between two tracebacks.
pub(super) fn connector(line: &str) -> Option<Link> {
    let line = line.trim();
    if line.starts_with("During handling of the above exception, another exception occurred") {
        Some(Link::Context)
    } else if line
        .starts_with("The above exception was the direct cause of the following exception")
    {
        Some(Link::Cause)
    } else {
        None
    }
}

/// One nesting level of exception groups; level 0 is the traceback itself.
#[derive(Debug, Clone, Default)]
struct Level {
    done: Vec<Raised>,
    dropped: u64,
    current: Option<Raised>,
    link: Option<Link>,
    /// Column of the `|` of its lines.
    margin: usize,
}

impl Level {
    fn open(&mut self, link: Option<Link>) {
        self.close();
        self.current = Some(Raised {
            link: self.link.take().or(link),
            ..Raised::default()
        });
    }

    /// Moves the current exception to the finished ones.
    fn close(&mut self) {
        let Some(mut raised) = self.current.take() else {
            return;
        };
        lift_note(&mut raised);
        if self.done.len() >= MAX_CHAIN {
            self.done.remove(MAX_CHAIN / 2);
            self.dropped += 1;
        }
        self.done.push(raised);
    }

    fn into_traceback(mut self) -> Option<Traceback> {
        self.close();
        (!self.done.is_empty()).then_some(Traceback {
            exceptions: self.done,
            exceptions_dropped: self.dropped,
        })
    }
}

/// Gives an exception whose first line is empty the first line that says
/// something. What quotes another process keeps it apart.
fn lift_note(raised: &mut Raised) {
    let quotes = raised.exception_type.as_deref().is_none_or(|name| {
        ["Process", "Remote", "ChildFailed", "Task"]
            .iter()
            .any(|part| name.contains(part))
    });
    if quotes || !raised.message.is_empty() || raised.notes.is_empty() {
        return;
    }
    raised.message = raised.notes.remove(0).trim().to_owned();
}

/// A traceback that is being read.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    style: Style,
    indent: usize,
    state: State,
    levels: Vec<Level>,
    blanks: u32,
    foreign: u32,
    /// Writers that are mixed into one stream.
    copies: u64,
    raw: String,
    /// The lines of torchelastic's table, and its `=====` rules so far.
    table: Vec<String>,
    rules: u32,
    /// A Rich frame's place or name that a line break has cut.
    wrapped: Option<String>,
}

impl Reader {
    /// Starts at a header.
    pub(super) fn new(opening: &Opening, line: &str) -> Self {
        let mut level = Level::default();
        if opening.style == Style::Group {
            level.margin = line[..opening.at].rfind('+').unwrap_or(0);
        }
        level.open(opening.original.then_some(Link::Remote));
        let mut reader = Self {
            style: opening.style,
            indent: opening.indent,
            state: State::Frames,
            levels: vec![level],
            blanks: 0,
            foreign: 0,
            copies: 1,
            raw: String::new(),
            table: Vec::new(),
            rules: 0,
            wrapped: None,
        };
        reader.keep_raw(line.get(opening.at..).unwrap_or(line));
        reader
    }

    /// Starts at a frame whose header is lost.
    pub(super) fn headless(frame: Frame, line: &str) -> Self {
        let opening = Opening {
            style: Style::Plain,
            indent: 0,
            original: false,
            at: 0,
        };
        let mut reader = Self::new(&opening, "");
        reader.raw.clear();
        reader.keep_raw(line);
        reader.push_frame(frame);
        reader
    }

    /// How many writers printed it at once.
    pub(super) const fn copies(&self) -> u64 {
        self.copies
    }

    /// Whether the exception line has been read.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::After && self.levels.len() == 1
    }

    /// Whether its outermost frame is where a program or a thread begins, so
    /// that the interpreter printed it and no logger.
    pub(super) fn is_from_entry(&self) -> bool {
        const ENTRIES: [&str; 6] = [
            "<module>",
            "_run_module_as_main",
            "_bootstrap",
            "_bootstrap_inner",
            "_main",
            "wrapper",
        ];
        let first = self.levels.first().and_then(|level| {
            level
                .done
                .first()
                .or(level.current.as_ref())
                .and_then(|raised| raised.frames.first())
        });
        first
            .and_then(|frame| frame.function.as_deref())
            .is_none_or(|name| ENTRIES.contains(&name))
    }

    /// Whether any frame or exception was read.
    pub(super) fn has_content(&self) -> bool {
        self.levels.iter().any(|level| {
            !level.done.is_empty()
                || level
                    .current
                    .as_ref()
                    .is_some_and(|raised| !raised.frames.is_empty())
        })
    }

    /// The type of the exception read last.
    pub(super) fn last_type(&self) -> Option<&str> {
        let level = self.levels.first()?;
        level
            .current
            .as_ref()
            .or(level.done.last())
            .and_then(|raised| raised.exception_type.as_deref())
    }

    /// The lines of torchelastic's table, taken out.
    pub(super) fn take_table(&mut self) -> Vec<String> {
        std::mem::take(&mut self.table)
    }

    /// Ends reading.
    pub(super) fn finish(mut self) -> (Traceback, String) {
        while self.levels.len() > 1 {
            self.close_child();
        }
        let traceback = self.levels.pop().and_then(Level::into_traceback);
        (traceback.unwrap_or_default(), self.raw)
    }

    /// Goes on after a connector that came late.
    pub(super) fn reopen(&mut self, link: Link, line: &str) {
        self.keep_raw(line);
        if let Some(level) = self.levels.first_mut() {
            level.close();
            level.link = Some(link);
        }
        self.state = State::Linked;
        self.blanks = 0;
        self.foreign = 0;
    }

    fn keep_raw(&mut self, line: &str) {
        if self.raw.len() + line.len() < MAX_RAW {
            self.raw.push_str(line);
            self.raw.push('\n');
        } else if !self.raw.ends_with("...\n") {
            self.raw.push_str("...\n");
        }
    }

    fn level(&mut self) -> Option<&mut Level> {
        self.levels.last_mut()
    }

    fn current(&mut self) -> Option<&mut Raised> {
        self.level().and_then(|level| level.current.as_mut())
    }

    fn last_frame(&mut self) -> Option<&mut Frame> {
        self.current().and_then(|raised| raised.frames.last_mut())
    }

    fn has_frames(&self) -> bool {
        self.levels
            .last()
            .and_then(|level| level.current.as_ref())
            .is_some_and(|raised| !raised.frames.is_empty())
    }

    fn push_frame(&mut self, frame: Frame) {
        let mixed = self.copies > 1;
        let Some(raised) = self.current() else {
            return;
        };
        if mixed
            && raised.frames.iter().rev().take(2).any(|last| {
                last.file == frame.file
                    && last.line == frame.line
                    && last.function == frame.function
            })
        {
            return;
        }
        if raised.frames.len() >= MAX_FRAMES {
            raised.frames.remove(MAX_FRAMES / 2);
            raised.frames_dropped += 1;
        }
        raised.frames.push(frame);
    }

    fn raise(&mut self, name: String, message: String) {
        if let Some(raised) = self.current() {
            raised.exception_type = Some(name);
            raised.message = message;
        }
        self.state = State::After;
        self.blanks = 0;
        self.foreign = 0;
    }

    /// Reads one line, whose carriers and header are gone.
    pub(super) fn push(&mut self, line: &str) -> Step {
        let step = match self.style {
            Style::Group => self.grouped(line),
            Style::Ipython if self.state == State::Frames => self.ipython(line),
            Style::Rich if self.state == State::Frames => self.rich(line),
            _ => {
                let lead = line.len() - line.trim_start_matches(' ').len();
                let text = line.get(self.indent.min(lead)..).unwrap_or(line);
                self.plain(text)
            }
        };
        if step == Step::Taken {
            self.keep_raw(line);
        }
        step
    }

    fn plain(&mut self, line: &str) -> Step {
        match self.state {
            State::Frames => self.in_frames(line),
            State::After => self.after(line),
            State::Linked => self.linked(line),
        }
    }

    fn in_frames(&mut self, line: &str) -> Step {
        if line.trim().is_empty() {
            self.blanks += 1;
            return if self.blanks > 2 {
                Step::Over
            } else {
                Step::Taken
            };
        }
        self.blanks = 0;
        let trimmed = line.trim_start();
        if let Some(found) = frame::python(line) {
            self.foreign = 0;
            self.push_frame(found);
            return Step::Taken;
        }
        if line.contains(HEADER) {
            if self.style == Style::Group && !self.has_frames() {
                return Step::Taken;
            }
            if opening(line).is_some_and(|opening| opening.style == Style::Group) {
                return Step::Over;
            }
            // A second writer, if the first got no further than a few frames.
            let frames = self.current().map_or(0, |raised| raised.frames.len());
            if frames <= 2 || self.copies > 1 {
                self.copies += 1;
                return Step::Taken;
            }
            return Step::Over;
        }
        if let Some(rest) = trimmed.strip_prefix("[Previous line repeated ") {
            let count = rest
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0);
            if let Some(last) = self.last_frame() {
                last.repeated = count;
            }
            return Step::Taken;
        }
        // `main()main()  File "x.py", line 3, in f`: writers within a line.
        if self.copies > 1
            && let Some(at) = line.find("  File \"")
            && let Some(found) = frame::python(&line[at..])
        {
            self.push_frame(found);
            return Step::Taken;
        }
        if line.starts_with([' ', '\t', '│', '└']) {
            if let Some(last) = self.last_frame()
                && !trimmed.starts_with(['│', '└'])
            {
                last.add_code(line);
            }
            return Step::Taken;
        }
        if let Some((name, message)) = exception::headline(line, self.has_frames()) {
            self.raise(name, message);
            return Step::Taken;
        }
        if super::native::is_death(line) {
            return Step::Over;
        }
        self.foreign += 1;
        if self.foreign > MAX_FOREIGN {
            Step::Over
        } else {
            Step::Taken
        }
    }

    fn after(&mut self, line: &str) -> Step {
        if let Some(link) = connector(line) {
            if let Some(level) = self.level() {
                level.close();
                level.link = Some(link);
            }
            self.state = State::Linked;
            self.blanks = 0;
            return Step::Taken;
        }
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed == "\"\"\"" || trimmed == "'''" {
            self.blanks += u32::from(trimmed.is_empty());
            return if self.blanks > 3 {
                Step::Over
            } else {
                Step::Taken
            };
        }
        if self.elastic_table() {
            return self.elastic(line);
        }
        if let Some(opening) = opening(line) {
            // The message before it quotes another process: `-- Process 1
            // terminated with the following error:`, DataLoader, Ray.
            let quoted = self.blanks == 0;
            if opening.original || quoted && self.announces_quote() {
                self.style = opening.style;
                self.indent = opening.indent;
                if let Some(level) = self.level() {
                    level.open(Some(Link::Remote));
                }
                self.state = State::Frames;
                return Step::Taken;
            }
            return Step::Over;
        }
        if line.starts_with(' ')
            && let Some(found) = frame::python(line)
        {
            if let Some(level) = self.level() {
                level.open(Some(Link::Remote));
            }
            self.push_frame(found);
            self.state = State::Frames;
            return Step::Taken;
        }
        if self.blanks > 0 && !self.is_bare() {
            return Step::Over;
        }
        self.blanks = 0;
        if self.copies > 1 && self.is_own_echo(line) {
            return Step::Taken;
        }
        if super::native::is_death(line) || starts_anew(line) {
            return Step::Over;
        }
        let Some(raised) = self
            .level()
            .and_then(|level| level.current.as_mut().or(level.done.last_mut()))
        else {
            return Step::Over;
        };
        if raised.notes.len() < MAX_NOTES {
            raised.notes.push(line.trim_end().to_owned());
            return Step::Taken;
        }
        // A long table or tensor dump goes on; it is not kept.
        self.foreign += 1;
        if self.foreign > MAX_DUMP {
            Step::Over
        } else {
            Step::Taken
        }
    }

    /// A line of torchelastic's table.
    fn elastic(&mut self, line: &str) -> Step {
        let over = self.rules >= 2
            || super::native::is_death(line)
            || starts_anew(line)
            || line.starts_with("Traceback");
        if over {
            return Step::Over;
        }
        self.rules += u32::from(line.starts_with("====="));
        if self.table.len() < MAX_TABLE {
            self.table.push(line.trim_end().to_owned());
        }
        Step::Taken
    }

    /// Whether torchelastic's table follows the message.
    fn elastic_table(&self) -> bool {
        self.last_type()
            .is_some_and(|name| name.ends_with("ChildFailedError"))
    }

    /// Whether the exception has said nothing yet: its text may come after a
    /// blank line.
    fn is_bare(&self) -> bool {
        self.levels
            .last()
            .and_then(|level| level.current.as_ref().or(level.done.last()))
            .is_some_and(|raised| {
                raised.message.is_empty()
                    && raised.notes.is_empty()
                    && raised.exception_type.as_deref().is_some_and(|name| {
                        name.contains("Process") || name.contains("Remote") || name.contains("Task")
                    })
            })
    }

    /// Whether the message so far ends by announcing another traceback.
    fn announces_quote(&mut self) -> bool {
        let Some(raised) = self
            .level()
            .and_then(|level| level.current.as_ref().or(level.done.last()))
        else {
            return false;
        };
        raised
            .notes
            .last()
            .unwrap_or(&raised.message)
            .ends_with(':')
            || raised.message.is_empty()
                && raised
                    .exception_type
                    .as_deref()
                    .is_some_and(|name| name.contains("Remote") || name.contains("Raised"))
    }

    /// `RuntimeError` or `: message` of another writer in the same stream.
    fn is_own_echo(&mut self, line: &str) -> bool {
        let name = self.last_type().map(str::to_owned);
        name.is_some_and(|name| {
            line.starts_with(&name) || line.starts_with(": ") || line.starts_with("    ")
        })
    }

    fn linked(&mut self, line: &str) -> Step {
        if line.trim().is_empty() {
            return Step::Taken;
        }
        if let Some(opening) = opening(line) {
            self.style = opening.style;
            self.indent = opening.indent;
            if let Some(level) = self.level() {
                level.open(None);
            }
            self.state = State::Frames;
            self.foreign = 0;
            return Step::Taken;
        }
        if let Some(found) = frame::python(line) {
            if let Some(level) = self.level() {
                level.open(None);
            }
            self.push_frame(found);
            self.state = State::Frames;
            self.foreign = 0;
            return Step::Taken;
        }
        self.foreign += 1;
        if self.foreign > 3 {
            Step::Over
        } else {
            Step::Taken
        }
    }
}

/// Whether a line that follows an exception starts something else.
fn starts_anew(line: &str) -> bool {
    const STARTS: [&str; 15] = [
        "Exception ignored in",
        "Exception in thread",
        "Fatal Python error",
        "terminate called",
        "thread '",
        "slurmstepd:",
        "srun:",
        "Process ",
        "Error in ",
        "WARNING",
        "ERROR",
        "INFO",
        "DEBUG",
        "+ ",
        "wandb:",
    ];
    STARTS.iter().any(|start| line.starts_with(start))
        || exception::headline(line, false).is_some()
        || is_warning(line)
}

/// `path/file.py:12: UserWarning: text`, as Python's `warnings` prints it.
fn is_warning(line: &str) -> bool {
    let Some((place, _)) = line.split_once("Warning: ") else {
        return false;
    };
    let Some((place, name)) = place.rsplit_once(": ") else {
        return false;
    };
    let number = place.rsplit_once(':').map_or("", |(_, number)| number);
    name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}
