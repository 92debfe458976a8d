use crate::domain::{Failure, FailureClass, GenerationRequest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What a remote model said once, kept on disk: one line of JSON per answer.
///
/// Several processes may append at once, since each line is one write at the
/// end of the file. A torn line costs its own answer.
#[derive(Debug)]
pub struct AnswerCache {
    path: PathBuf,
    file: File,
    model: String,
    known: HashMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    answer: String,
}

impl AnswerCache {
    /// The answers of `model` below `directory`; everything that decides an
    /// answer beside the request is to be in that name.
    ///
    /// # Errors
    /// `environment`, when the directory can not be written.
    pub fn open(directory: &Path, model: &str) -> Result<Self, Failure> {
        let path = directory.join(format!("{}.jsonl", &hex(model.as_bytes())[..16]));
        let failed = |error| failure(&path, &error);
        fs::create_dir_all(directory).map_err(failed)?;
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        let bytes = fs::read(&path).map_err(failed)?;
        if bytes.last().is_some_and(|last| *last != b'\n') {
            file.write_all(b"\n").map_err(failed)?;
        }
        let known = bytes
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
            .map(|line| (line.key, line.answer))
            .collect();
        Ok(Self {
            path,
            file,
            model: model.to_owned(),
            known,
        })
    }

    /// What was said to this request.
    pub fn get(&self, request: &GenerationRequest) -> Option<&str> {
        self.known.get(&self.key(request)).map(String::as_str)
    }

    /// Keeps what was said to this request.
    ///
    /// # Errors
    /// `environment`, when the disk does not take it; it is known to this
    /// process all the same.
    pub fn put(&mut self, request: &GenerationRequest, answer: &str) -> Result<(), Failure> {
        let key = self.key(request);
        let line = Line {
            key: key.clone(),
            answer: answer.to_owned(),
        };
        // Two texts always serialise.
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        self.known.insert(key, line.answer);
        self.file
            .write_all(text.as_bytes())
            .map_err(|error| failure(&self.path, &error))
    }

    fn key(&self, request: &GenerationRequest) -> String {
        let parts = (&self.model, &request.system, &request.prompt, request.raw);
        hex(serde_json::to_string(&parts).unwrap_or_default().as_bytes())
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    let message = format!(
        "{} can not be written: {error}; free space there, or name another directory with --cache \
         or RAGICAMP_CACHE",
        path.display()
    );
    Failure::new(FailureClass::Environment, message)
}
