//! What programs that are not Python write when they die: Rust panics, C++
//! exceptions, faulthandler, and the shell's one word.

use super::{
    exception::{Link, Raised, Traceback},
    frame::{self, Frame},
};

/// Frames kept.
const MAX_FRAMES: usize = 200;
/// Lines of a message kept.
const MAX_LINES: usize = 40;

/// What a shell says of a process that died.
pub(super) const DEATHS: [&str; 9] = [
    "Aborted",
    "Killed",
    "Segmentation fault",
    "Bus error",
    "Illegal instruction",
    "Floating point exception",
    "Terminated",
    "Trace/breakpoint trap",
    "Out of memory",
];

/// Whether a line says that a process died, in the shell's words.
pub(super) fn is_death(line: &str) -> bool {
    let line = line.trim();
    let bare = line
        .strip_suffix("(core dumped)")
        .unwrap_or(line)
        .trim_end()
        .trim_end_matches('.');
    if DEATHS.contains(&bare) {
        return true;
    }
    if line.starts_with("*** Process received signal")
        || is_faulthandler(line)
        || line.starts_with("terminate called")
        || line.starts_with("*** SIG")
        || line.starts_with("!!!!!!! Segfault")
        || line.starts_with("double free or corruption")
        || line.starts_with("free(): invalid")
        || line.starts_with("corrupted size vs. prev_size")
        || line.starts_with("munmap_chunk(): invalid")
        || line.starts_with("malloc(): ")
        || line.starts_with("*** stack smashing detected")
        || line.starts_with("*** Error in `")
    {
        return true;
    }
    // `run.sh: line 12: 4242 Killed   python train.py`.
    line.contains(": line ")
        && DEATHS
            .iter()
            .any(|word| line.contains(&format!(" {word} ")) || line.ends_with(word))
}

/// The first line of Python's faulthandler.
fn is_faulthandler(line: &str) -> bool {
    line.starts_with("Fatal Python error: ") || line.starts_with("Windows fatal exception: ")
}

/// The place and, in older Rust, the message of `... panicked at ...`.
fn panic_opening(line: &str) -> Option<(Option<Frame>, Option<String>)> {
    let at = line.find("panicked at ")?;
    let before = line[..at].trim_end();
    let named = before.is_empty()
        || before.contains("thread '")
        || before.contains("thread <")
        || before.to_ascii_lowercase().contains("panic")
        || before.ends_with(':');
    if !named {
        return None;
    }
    let rest = line[at + "panicked at ".len()..].trim_end();
    if let Some(quoted) = rest.strip_prefix('\'')
        && let Some((message, place)) = quoted.rsplit_once("', ")
    {
        return Some((place_frame(place), Some(message.to_owned())));
    }
    place_frame(rest.strip_suffix(':').unwrap_or(rest)).map(|frame| (Some(frame), None))
}

/// `src/main.rs:4:5`.
fn place_frame(place: &str) -> Option<Frame> {
    let (rest, _column) = place.rsplit_once(':')?;
    let (file, line) = rest.rsplit_once(':')?;
    Some(Frame {
        file: file.to_owned(),
        line: Some(line.parse().ok()?),
        ..Frame::default()
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Panic,
    Cpp,
    Faulthandler,
    Anyhow,
}

/// A crash that is being read.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    shape: Shape,
    exception_type: Option<String>,
    message: Option<String>,
    lines: Vec<String>,
    place: Option<Frame>,
    frames: Vec<Frame>,
    causes: Vec<String>,
    in_backtrace: bool,
    /// The first thread of faulthandler is over; the others are not kept.
    done: bool,
    blanks: u32,
    raw: String,
}

impl Reader {
    /// Starts at a line that opens a crash.
    pub(super) fn open(line: &str) -> Option<Self> {
        let trimmed = line.trim_end();
        let mut reader = Self {
            shape: Shape::Panic,
            exception_type: None,
            message: None,
            lines: Vec::new(),
            place: None,
            frames: Vec::new(),
            causes: Vec::new(),
            in_backtrace: false,
            done: false,
            blanks: 0,
            raw: format!("{trimmed}\n"),
        };
        if let Some((place, message)) = panic_opening(trimmed) {
            reader.exception_type = Some("panic".to_owned());
            reader.place = place;
            reader.message = message;
            return Some(reader);
        }
        if let Some(rest) = trimmed.strip_prefix("terminate called") {
            reader.shape = Shape::Cpp;
            reader.exception_type = rest
                .split_once("instance of '")
                .map(|(_, name)| name.trim_end_matches(['\'', '.']).to_owned());
            if reader.exception_type.is_none() {
                reader.message = Some(trimmed.to_owned());
            }
            return Some(reader);
        }
        if trimmed.starts_with("libc++abi: terminating")
            || trimmed.starts_with("libc++abi.dylib: terminating")
        {
            reader.shape = Shape::Cpp;
            let (_, rest) = trimmed.split_once("exception").unwrap_or(("", ""));
            let (name, message) = rest.trim_start_matches(" of type ").split_once(": ")?;
            reader.exception_type = Some(name.trim().to_owned());
            reader.message = Some(message.to_owned());
            return Some(reader);
        }
        if is_faulthandler(trimmed) {
            reader.shape = Shape::Faulthandler;
            reader.message = Some(trimmed.to_owned());
            return Some(reader);
        }
        None
    }

    /// Turns an error line into a chain when `Caused by:` follows it.
    pub(super) fn chain(message: &str) -> Self {
        Self {
            shape: Shape::Anyhow,
            exception_type: None,
            message: Some(message.to_owned()),
            lines: Vec::new(),
            place: None,
            frames: Vec::new(),
            causes: Vec::new(),
            in_backtrace: false,
            done: false,
            blanks: 0,
            raw: format!("{message}\n\nCaused by:\n"),
        }
    }

    /// Whether it is an error with causes and not a crash.
    pub(super) fn is_chain(&self) -> bool {
        self.shape == Shape::Anyhow
    }

    /// Reads one line; false when it does not belong here.
    pub(super) fn push(&mut self, line: &str) -> bool {
        let taken = match self.shape {
            Shape::Panic => self.panic(line),
            Shape::Cpp => self.cpp(line),
            Shape::Faulthandler => self.faulthandler(line),
            Shape::Anyhow => self.anyhow(line),
        };
        if taken && self.raw.len() < 32 * 1024 {
            self.raw.push_str(line);
            self.raw.push('\n');
        }
        taken
    }

    fn note(&mut self, line: &str) {
        match &self.message {
            None => self.message = Some(line.trim().to_owned()),
            Some(_) if self.lines.len() < MAX_LINES => self.lines.push(line.trim_end().to_owned()),
            Some(_) => {}
        }
    }

    /// `  12: core::panicking::panic` and `             at /x/y.rs:3:4`.
    fn backtrace_line(&mut self, line: &str) -> bool {
        let trimmed = line.trim();
        if let Some(place) = trimmed.strip_prefix("at ") {
            if let (Some(last), Some(found)) = (self.frames.last_mut(), place_frame(place)) {
                last.file = found.file;
                last.line = found.line;
            }
            return true;
        }
        let Some((number, name)) = trimmed.split_once(": ") else {
            return false;
        };
        if !line.starts_with(' ') || number.parse::<u32>().is_err() {
            return false;
        }
        if self.frames.len() < MAX_FRAMES {
            self.frames.push(Frame {
                function: Some(name.to_owned()),
                ..Frame::default()
            });
        }
        true
    }

    fn panic(&mut self, line: &str) -> bool {
        let trimmed = line.trim();
        if trimmed == "stack backtrace:" {
            self.in_backtrace = true;
            return true;
        }
        if trimmed.starts_with("note: ") {
            return true;
        }
        if self.in_backtrace {
            return self.backtrace_line(line);
        }
        if trimmed.is_empty() {
            self.blanks += 1;
            return self.message.is_some() && self.blanks < 3;
        }
        if panic_opening(line).is_some() || is_death(line) || super::python::opening(line).is_some()
        {
            return false;
        }
        // `left: 1` and `right: 2` of a failed assertion are indented.
        if self.message.is_some() && (self.blanks > 0 || !line.starts_with([' ', '\t'])) {
            return false;
        }
        self.note(line);
        true
    }

    fn cpp(&mut self, line: &str) -> bool {
        let trimmed = line.trim();
        if let Some(what) = trimmed.strip_prefix("what():") {
            self.message = Some(what.trim().to_owned());
            return true;
        }
        if trimmed.starts_with("Exception raised from")
            || trimmed.starts_with("C++ CapturedTraceback")
        {
            self.in_backtrace = true;
            return true;
        }
        if let Some(rest) = trimmed.strip_prefix("frame #") {
            self.in_backtrace = true;
            if self.frames.len() < MAX_FRAMES
                && let Some((_, rest)) = rest.split_once(": ")
            {
                let (name, place) = rest.split_once(" (0x").unwrap_or((rest, ""));
                self.frames.push(Frame {
                    file: place
                        .split_once(" in ")
                        .map_or("", |(_, file)| file.trim_end_matches(')'))
                        .to_owned(),
                    function: Some(name.split(" + 0x").next().unwrap_or(name).to_owned()),
                    ..Frame::default()
                });
            }
            return true;
        }
        if trimmed.is_empty() {
            self.blanks += 1;
            return self.blanks < 3;
        }
        if self.in_backtrace || is_death(line) || self.blanks > 0 || self.exception_type.is_none() {
            return false;
        }
        if super::python::opening(line).is_some()
            || super::exception::headline(line, false).is_some()
        {
            return false;
        }
        // `what()` may have several lines.
        self.message.is_some() && self.lines.len() < MAX_LINES && {
            self.note(line);
            true
        }
    }

    fn faulthandler(&mut self, line: &str) -> bool {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            self.done |= !self.frames.is_empty();
            return true;
        }
        if trimmed.ends_with("(most recent call first):") {
            if trimmed.starts_with("Current thread ") {
                // The others come first and only wait.
                self.frames.clear();
                self.done = false;
            }
            self.in_backtrace = true;
            return true;
        }
        if let Some(found) = frame::python(line) {
            if !self.done && self.frames.len() < MAX_FRAMES {
                self.frames.push(found);
            }
            return true;
        }
        trimmed.starts_with("Extension modules:")
            || trimmed.starts_with("Python runtime state")
            || trimmed == "..."
            || trimmed.starts_with("<no Python frame>")
            || trimmed.starts_with("Current thread's C stack trace")
            || trimmed.starts_with("Binary file \"")
    }

    fn anyhow(&mut self, line: &str) -> bool {
        let trimmed = line.trim();
        if trimmed == "Caused by:" {
            return true;
        }
        if trimmed == "Stack backtrace:" || trimmed == "stack backtrace:" {
            self.in_backtrace = true;
            return true;
        }
        if self.in_backtrace {
            return trimmed.is_empty() || self.backtrace_line(line);
        }
        if trimmed.is_empty() {
            self.blanks += 1;
            return self.blanks < 2;
        }
        if !line.starts_with([' ', '\t']) {
            return false;
        }
        // `    0: cause`, or the only cause without a number.
        let numbered = trimmed
            .split_once(": ")
            .filter(|(number, _)| number.parse::<u32>().is_ok());
        match (numbered, self.causes.last_mut()) {
            (Some((_, cause)), _) => self.causes.push(cause.to_owned()),
            (None, None) => self.causes.push(trimmed.to_owned()),
            (None, Some(_)) => {}
        }
        if self.causes.len() > 200 {
            self.causes.remove(100);
        }
        true
    }

    /// Ends reading: type, message, further lines, traceback, raw text.
    pub(super) fn finish(mut self) -> (Option<String>, String, Vec<String>, Traceback, String) {
        let message = self.message.take().unwrap_or_default();
        // Both list the innermost call first, a traceback has it last.
        self.frames.reverse();
        if let Some(place) = self.place.take() {
            let known = self
                .frames
                .iter()
                .any(|frame| frame.line == place.line && frame.file == place.file);
            if !known {
                self.frames.push(place);
            }
        }
        let mut exceptions: Vec<Raised> = self
            .causes
            .iter()
            .rev()
            .enumerate()
            .map(|(at, cause)| Raised {
                link: (at > 0).then_some(Link::Cause),
                message: cause.clone(),
                ..Raised::default()
            })
            .collect();
        exceptions.push(Raised {
            link: (!exceptions.is_empty()).then_some(Link::Cause),
            frames: self.frames,
            exception_type: self.exception_type.clone(),
            message: message.clone(),
            notes: self.lines.clone(),
            ..Raised::default()
        });
        let traceback = Traceback {
            exceptions,
            exceptions_dropped: 0,
        };
        (
            self.exception_type,
            message,
            self.lines,
            traceback,
            self.raw,
        )
    }
}
