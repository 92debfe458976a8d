use crate::{
    artifacts::{ArtifactError, Claim, ExperimentDir, LeaseOptions},
    domain::Phase,
};

/// What became of an experiment that is to say that it was interrupted.
pub enum Ended {
    /// It was over, or never begun.
    Before,
    /// Its state says interrupted now.
    Marked,
    /// Somebody is at it.
    OwnedBy(String),
}

/// Has the state of an experiment say that it was interrupted, where nobody
/// who worked on it could.
///
/// # Errors
/// When its files can not be read or written.
pub fn interrupt(experiment: &ExperimentDir) -> Result<Ended, ArtifactError> {
    let is_open = |phase: Phase| !matches!(phase, Phase::Complete | Phase::Failed);
    let open = experiment
        .state()?
        .filter(|state| is_open(state.phase) && !state.interrupted);
    if open.is_none() {
        return Ok(Ended::Before);
    }
    let lease = match experiment.claim(&LeaseOptions::default())? {
        Claim::Mine(lease) => lease,
        Claim::Held(owner) => return Ok(Ended::OwnedBy(owner.to_string())),
    };
    let Some(mut state) = experiment.state()?.filter(|state| is_open(state.phase)) else {
        return Ok(Ended::Before);
    };
    state.interrupted = true;
    lease.check()?;
    experiment.unseal()?;
    experiment.write_state(&state)?;
    lease.release()?;
    Ok(Ended::Marked)
}
