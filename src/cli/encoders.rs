use super::{CliError, cache_dir::CacheDir};
use crate::runner::{LaneDevice, StudyEncoders, WorkerProgram};
use anyhow::Context;
use std::path::PathBuf;

/// Embedding models and rerankers in workers of their own, whose output goes
/// beside the indexes. Relative paths of models start from `bases`.
pub fn at(cache: &CacheDir, device: &str, bases: Vec<PathBuf>) -> Result<StudyEncoders, CliError> {
    let place = cache.path();
    std::fs::create_dir_all(&place)
        .with_context(|| format!("cannot make {}", place.display()))
        .map_err(CliError::environment)?;
    let worker = WorkerProgram {
        program: std::env::current_exe().context("cannot find this program")?,
        args: vec!["worker".to_owned()],
    };
    Ok(StudyEncoders::new(
        &worker,
        &LaneDevice::alone(device),
        bases,
        &place.join("encoders.log"),
    ))
}
