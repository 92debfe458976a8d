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
    num_questions: Option<usize>,
) -> Result<Option<String>, ArtifactError> {
    let refused = |what: &str| {
        Some(format!(
            "{} has changed since this experiment began: {what}; restore the file, or start over \
             with --force",
            dataset.source.display()
        ))
    };
    let Some(stored) = stored_questions(dir)? else {
        return Ok(strange_record(dir, dataset)?.and_then(|what| refused(&what)));
    };
    // A file that was cut short has lost what the study asks for.
    let (had, has) = (stored.questions.len(), dataset.questions.len());
    if has < had && num_questions.is_none_or(|number| number > has) {
        return Ok(refused(&format!("it had {had} questions and has {has}")));
    }
    let differs = stored
        .questions
        .iter()
        .zip(&dataset.questions)
        .find(|(old, new)| is_changed(old, new));
    Ok(differs.and_then(|(old, new)| {
        let what = if old.question != new.question {
            format!("was {:?} and is {:?}", old.question, new.question)
        } else if old.expected != new.expected {
            format!(
                "had the answers {:?} and has {:?}",
                old.expected, new.expected
            )
        } else {
            "has other passages now".to_owned()
        };
        refused(&format!("question {} {what}", old.idx))
    }))
}

/// Says which record is of another question than the dataset has in its place,
/// if one: where the list of questions is lost, or another program has not kept
/// one, nothing else tells.
fn strange_record(dir: &ExperimentDir, dataset: &Dataset) -> Result<Option<String>, ArtifactError> {
    let best = dir.records()?.best;
    Ok(dataset.questions.iter().find_map(|question| {
        let record = best.get(&question.idx)?;
        let is_strange = !record.question.trim().is_empty()
            && record.question.trim() != question.question.trim();
        is_strange.then(|| {
            format!(
                "question {} is {:?}, and the answer that is there is to {:?}",
                question.idx, question.question, record.question
            )
        })
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
