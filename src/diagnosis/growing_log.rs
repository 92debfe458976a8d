use super::bounds::Bounds;
use crate::errortrace::{Context, Extractor, Limits, Report};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

const BLOCK: usize = 1 << 20;

/// The start of a file, by which one that was written anew is known.
const HEAD: usize = 256;

/// A log that is read once: what was read stays read, and each look takes in
/// only what was written since.
#[derive(Debug, Clone)]
pub struct GrowingLog {
    path: PathBuf,
    bounds: Bounds,
    extractor: Extractor,
    /// Bytes that the extractor has.
    taken: u64,
    inode: u64,
    head: Vec<u8>,
    /// Bytes read from the disk, over all looks.
    read: u64,
    /// Where lines begin, about one per block: the byte, and the line's number.
    marks: Vec<(u64, u64)>,
    /// Ends of lines among the bytes taken.
    line_ends: u64,
}

impl GrowingLog {
    /// A log that was not looked at yet. It need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            bounds: Bounds::default(),
            extractor: Extractor::new(Limits::default()),
            taken: 0,
            inode: 0,
            head: Vec::new(),
            read: 0,
            marks: Vec::new(),
            line_ends: 0,
        }
    }

    /// The same log, read only inside `bounds`, as are the files beside it.
    #[must_use]
    pub fn within(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Where files may be.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes read from the disk so far.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The last line that is known to begin at or before byte `offset`: where,
    /// and its number from 1.
    pub fn line_before_byte(&self, offset: u64) -> (u64, u64) {
        self.mark(self.marks.partition_point(|mark| mark.0 <= offset))
    }

    /// The last place known to be at or before line `line`: the byte at which
    /// a line begins, and its number from 1.
    pub fn place_before_line(&self, line: u64) -> (u64, u64) {
        self.mark(self.marks.partition_point(|mark| mark.1 <= line))
    }

    fn mark(&self, behind: usize) -> (u64, u64) {
        behind
            .checked_sub(1)
            .and_then(|index| self.marks.get(index))
            .copied()
            .unwrap_or((0, 1))
    }

    /// What the log says now; an empty report when there is none. A file that
    /// was replaced or cut off is read from its start.
    ///
    /// # Errors
    /// When it exists and can not be read.
    pub fn report(&mut self, context: &Context) -> io::Result<Report> {
        let mut file = match self.bounds.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.begin_anew();
                return Ok(self.snapshot(context));
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let mut head = vec![0; HEAD];
        let length = read_full(&mut file, &mut head)?;
        head.truncate(length);
        if metadata.ino() != self.inode
            || metadata.len() < self.taken
            || !head.starts_with(&self.head)
        {
            let read = self.read;
            self.begin_anew();
            self.read = read;
            self.inode = metadata.ino();
        }
        self.head = head;
        file.seek(SeekFrom::Start(self.taken))?;
        let mut block = vec![0; BLOCK];
        loop {
            let count = read_full(&mut file, &mut block)?;
            if count == 0 {
                break;
            }
            self.extractor.feed(&block[..count]);
            if let Some(last) = memchr::memrchr(b'\n', &block[..count]) {
                self.line_ends += memchr::memchr_iter(b'\n', &block[..count]).count() as u64;
                let begin = self.taken + last as u64 + 1;
                self.marks.push((begin, self.line_ends + 1));
            }
            self.taken += count as u64;
            self.read += count as u64;
        }
        Ok(self.snapshot(context))
    }

    fn begin_anew(&mut self) {
        let path = std::mem::take(&mut self.path);
        let bounds = std::mem::take(&mut self.bounds);
        *self = Self::new(path).within(bounds);
    }

    fn snapshot(&mut self, context: &Context) -> Report {
        self.extractor.set_context(context.clone());
        self.extractor.report()
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
