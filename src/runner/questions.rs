use crate::{
    artifacts::{ArtifactError, ExperimentDir, QuestionsFile},
    datasets::Dataset,
};

/// The questions that were asked before; a file that can not be read is none.
pub fn stored_questions(dir: &ExperimentDir) -> Result<Option<QuestionsFile>, ArtifactError> {
    match dir.questions() {
        Err(ArtifactError::Malformed { .. }) => Ok(None),
        stored => stored,
    }
}

/// Says which question the dataset asks otherwise than before, if one.
pub fn changed_question(
    dir: &ExperimentDir,
    dataset: &Dataset,
) -> Result<Option<String>, ArtifactError> {
    let Some(stored) = stored_questions(dir)? else {
        return Ok(None);
    };
    let differs = stored
        .questions
        .iter()
        .zip(&dataset.questions)
        .find(|(old, new)| old.question != new.question || old.expected != new.expected);
    Ok(differs.map(|(old, new)| {
        format!(
            "{} has changed since this experiment began: question {} was {:?} and is {:?}; \
             restore the file, or start over with --force",
            dataset.source.display(),
            old.idx,
            old.question,
            new.question
        )
    }))
}
