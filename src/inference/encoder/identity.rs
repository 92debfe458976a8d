use crate::{
    domain::{Failure, FailureClass},
    hub::{FileSource, ModelFiles, WeightFiles},
};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Bytes of the hash that are kept.
const KEPT: usize = 16;

/// What decides a model's numbers: its commit on the hub, else the hash of
/// its configuration, tokenizer and weights.
///
/// # Errors
/// When a file can not be read (class `permanent`).
pub fn source(files: &ModelFiles) -> Result<String, Failure> {
    if let Some(commit) = &files.revision {
        let name = files.label.split('@').next().unwrap_or(&files.label);
        return Ok(format!("{name}@{commit}"));
    }
    let mut hash = Sha256::new();
    for file in [&files.config, &files.tokenizer] {
        match file {
            Some(FileSource::Embedded(bytes)) => hash.update(bytes),
            Some(FileSource::Path(path)) => add(&mut hash, path)?,
            None => {}
        }
    }
    match &files.weights {
        WeightFiles::Embedded(bytes) => hash.update(bytes),
        WeightFiles::Gguf(path) => add(&mut hash, path)?,
        WeightFiles::Safetensors(paths) => {
            for path in paths {
                add(&mut hash, path)?;
            }
        }
    }
    let mut text = "sha256:".to_owned();
    for byte in hash.finalize().iter().take(KEPT) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

fn add(hash: &mut Sha256, path: &Path) -> Result<(), Failure> {
    let mut read = || -> io::Result<()> {
        let mut file = File::open(path)?;
        // The length keeps what one file ends with apart from the next.
        hash.update(file.metadata()?.len().to_le_bytes());
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                count => hash.update(&buffer[..count]),
            }
        }
    };
    read().map_err(|error| {
        Failure::new(
            FailureClass::Permanent,
            format!("{} can not be read: {error}", path.display()),
        )
    })
}
