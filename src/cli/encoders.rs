use super::{CliError, cache_dir::CacheDir};
use crate::runner::{LaneDevice, StudyEncoders, WorkerProgram};
use anyhow::{Context, anyhow};
use std::path::PathBuf;

/// Embedding models and rerankers in workers of their own, whose output goes
/// beside the indexes. Relative paths of models start from `bases`.
pub fn at(cache: &CacheDir, device: &str, bases: Vec<PathBuf>) -> Result<StudyEncoders, CliError> {
    let place = cache.path();
    std::fs::create_dir_all(&place).map_err(|error| {
        CliError::environment(anyhow!(
            "cannot make {}: {error}; name a directory that can be written with --cache or \
                 RAGICAMP_CACHE",
            place.display()
        ))
    })?;
    let worker = WorkerProgram::itself().context("cannot find this program")?;
    Ok(StudyEncoders::new(
        &worker,
        &LaneDevice::alone(device),
        bases,
        &place.join("encoders.log"),
    ))
}
