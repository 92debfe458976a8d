use crate::artifacts::open_regular;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Which files may be read: regular ones, and, where a directory is named,
/// only such as are below it when all links are followed.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// With its own links followed.
    root: Option<PathBuf>,
}

impl Bounds {
    /// Files below `root`, which is a path without links.
    pub fn below(root: &Path) -> Self {
        Self {
            root: Some(root.to_owned()),
        }
    }

    /// Opens `path` to read it. What leads out of the bounds is not there.
    ///
    /// # Errors
    /// When it can not be opened, or may not be read.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let is_inside = match &self.root {
            Some(root) => path.canonicalize()?.starts_with(root),
            None => true,
        };
        if is_inside {
            open_regular(path)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}
