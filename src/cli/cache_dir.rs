use clap::Args;
use std::{
    env,
    path::{Path, PathBuf},
};

/// Where what was computed once is kept, for every study.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where things are kept")]
pub struct CacheDir {
    /// Where indexes and quantised weights are kept.
    #[arg(long, value_name = "DIR", env = "RAGICAMP_CACHE")]
    cache: Option<PathBuf>,
}

impl CacheDir {
    /// `--cache`, else the user's cache directory.
    pub fn path(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| {
            let base = env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
                .unwrap_or_else(env::temp_dir);
            base.join("ragicamp")
        })
    }
}
