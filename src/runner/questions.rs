use crate::{
    artifacts::{ArtifactError, ExperimentDir, QuestionsFile},
    datasets::Dataset,
    domain::{ExperimentSpec, Passage, Question},
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
        .find(|(old, new)| is_changed(old, new));
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

/// Whether a question is another one than before, or has other answers or
/// passages; an old list may not have kept its passages.
fn is_changed(old: &Question, new: &Question) -> bool {
    old.question != new.question
        || old.expected != new.expected
        || (!old.context.is_empty() && old.context != new.context)
}

/// The passages of a question's own, the first `top_k` of them. They were not
/// found, so their ids say only where they stand.
pub fn own_passages(spec: &ExperimentSpec, question: &Question) -> Vec<Passage> {
    let texts = question.context.iter().take(spec.top_k.unwrap_or(0));
    texts
        .enumerate()
        .map(|(place, text)| Passage {
            id: format!("context#{place}"),
            title: None,
            text: text.clone(),
            score: 0.0,
        })
        .collect()
}
