//! What a look at a directory tells, before any file is parsed.

use super::regular_file::open_regular;
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// The names in an experiment's directory, from one look at it.
#[derive(Default)]
pub(super) struct Listing {
    names: BTreeSet<String>,
}

impl Listing {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut listing = Self::default();
        for entry in fs::read_dir(path)? {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            listing.names.insert(name);
        }
        Ok(listing)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(super) fn is_experiment(&self) -> bool {
        const SIGNS: [&str; 7] = [
            "state.json",
            "metadata.json",
            "questions.json",
            "journal",
            "predictions.json",
            "results.json",
            "error.log",
        ];
        // A study's directory has experiments in it and is none.
        self.has("lease") || (!self.has("study.yaml") && SIGNS.iter().any(|sign| self.has(sign)))
    }
}

/// Whether a JSON file begins and ends as one: a torn or zeroed file does
/// not, and the middle need not be read for that.
pub(super) fn looks_whole(path: &Path) -> Result<(), String> {
    let ends = || -> io::Result<(Option<u8>, Option<u8>)> {
        let mut file = open_regular(path)?;
        let length = file.metadata()?.len();
        let mut start = [0; 1];
        if length == 0 {
            return Ok((None, None));
        }
        file.read_exact(&mut start)?;
        file.seek(SeekFrom::Start(length.saturating_sub(16)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let last = tail
            .into_iter()
            .rev()
            .find(|byte| !byte.is_ascii_whitespace());
        Ok((Some(start[0]), last))
    };
    match ends().map_err(|error| error.to_string())? {
        (None, _) => Err("it is empty".to_owned()),
        (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) => Ok(()),
        (Some(b'{' | b'['), _) => Err("it is torn".to_owned()),
        _ => Err("it is no JSON".to_owned()),
    }
}
