use super::{
    batches,
    dialogue::{Dialogue, Settled, blank, request, retrieved},
    experiment::{ExperimentRun, Stop},
    generation::Generated,
    origin::Origin,
    round::{InnerSteps, Round},
};
use crate::{
    agents::{AgentPlan, Role},
    artifacts::{Journal, State, StepRecord},
    domain::{ExperimentSpec, Passage, Prediction, Question},
    execution::{Ending, Outcome},
    index::Query,
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Instant};

/// Replies by question and step.
type Kept = BTreeMap<(usize, usize), StepRecord>;

impl ExperimentRun<'_, '_> {
    /// Answers questions that take several generations each: in rounds, of
    /// which each puts all questions that stand at the same step to the model
    /// together. Every reply is kept before it is used, so that a run that
    /// was killed goes on at the step that is missing.
    pub(super) fn converse<'a>(
        &mut self,
        state: &State,
        outstanding: &[&'a Question],
        questions: &'a [Question],
        best: &mut BTreeMap<usize, Prediction>,
        journal: &mut Journal,
        start: Instant,
    ) -> Result<Generated, Stop> {
        let contents = self.dir.steps()?;
        for damaged in &contents.damaged {
            self.ears.remark(&format!("{}: {damaged}", self.spec.name));
        }
        let mut kept = contents.replies;
        if !kept.is_empty() {
            // What they lead to is made with what they were made with.
            self.origin = Origin::of(self.dir.metadata()?);
        }
        let mut steps = self.dir.open_steps(&self.lease)?;
        let plan = AgentPlan::of(self.spec);
        let prompt = &self.spec.prompt;
        let mut dialogues: BTreeMap<usize, Dialogue<'_>> = outstanding
            .iter()
            .map(|question| (question.idx, Dialogue::new(plan.clone(), prompt, question)))
            .collect();
        let mut moved: Vec<usize> = dialogues.keys().copied().collect();
        let mut sum = Generated::nothing();
        loop {
            self.advance(state, &mut dialogues, &moved, &kept, best, journal)?;
            let waiting = dialogues.values().filter_map(Dialogue::waits_for).min();
            let Some((role, is_last)) = waiting else {
                return Ok(sum);
            };
            let asked: BTreeMap<_, _> = dialogues
                .iter()
                .filter(|(_, dialogue)| dialogue.waits_for() == Some((role, is_last)))
                .filter_map(|(idx, dialogue)| Some((*idx, dialogue.asked()?)))
                .collect();
            moved = asked.keys().copied().collect();
            let inner = if is_last {
                None
            } else {
                Some(InnerSteps {
                    journal: &mut steps,
                    kept: &mut kept,
                })
            };
            let mut decoding = self.spec.generation.clone();
            if let Role::Inner(step) = role {
                decoding.max_new_tokens = step.tokens();
                decoding.stop.clear();
            }
            let round = Round {
                asked,
                decoding,
                inner,
            };
            let generated = self.generate(state, round, questions, best, journal, start);
            let goes_on = matches!(generated.outcome.ending, Ending::Exhausted { .. });
            sum.add(generated);
            if let Ending::Aborted {
                consecutive_failures,
                failure,
            } = &sum.outcome.ending
            {
                // The round has recorded its own questions only, and of them
                // those without a reply.
                let waiting = dialogues.values().map(|dialogue| dialogue.question);
                let given_up: Vec<Prediction> = waiting
                    .filter(|question| !best.contains_key(&question.idx))
                    .map(|question| Prediction {
                        prediction: Prediction::aborted_marker(*consecutive_failures),
                        error: Some(failure.message.clone()),
                        failure_class: Some(failure.class),
                        aborted: true,
                        ..blank(question, state.attempt)
                    })
                    .collect();
                self.keep(given_up, best, journal)?;
            }
            if sum.taken_over.is_some() || !goes_on {
                return Ok(sum);
            }
            // The others failed, which is on record, or have their answer.
            moved.retain(|idx| {
                let goes_on = dialogues
                    .get(idx)
                    .and_then(Dialogue::asked)
                    .is_some_and(|asked| {
                        kept.get(&(*idx, asked.step))
                            .is_some_and(|record| record.prompt == asked.digest)
                    });
                if !goes_on {
                    dialogues.remove(idx);
                }
                goes_on
            });
        }
    }

    /// Takes dialogues to their next missing reply; those that have an answer
    /// are over, and it is kept.
    fn advance(
        &mut self,
        state: &State,
        dialogues: &mut BTreeMap<usize, Dialogue<'_>>,
        moved: &[usize],
        kept: &Kept,
        best: &mut BTreeMap<usize, Prediction>,
        journal: &mut Journal,
    ) -> Result<(), Stop> {
        let mut answered = Vec::new();
        for idx in moved {
            if self.signals.is_stopping() {
                return Err(Stop::Interrupted);
            }
            let Some(dialogue) = dialogues.get_mut(idx) else {
                continue;
            };
            let (spec, question) = (self.spec, dialogue.question.question.as_str());
            let mut find =
                |text: &str, top_k: usize| self.find(query_of(spec, text, question), top_k);
            if let Some(settled) = dialogue.advance(kept, &mut find)? {
                answered.push(settled_prediction(
                    dialogue.question,
                    &settled,
                    state.attempt,
                ));
                dialogues.remove(idx);
            }
        }
        // The generator is next.
        self.shelf()?.release_models();
        self.keep(answered, best, journal)
    }

    fn keep(
        &self,
        records: Vec<Prediction>,
        best: &mut BTreeMap<usize, Prediction>,
        journal: &mut Journal,
    ) -> Result<(), Stop> {
        journal.append(&records)?;
        for record in records {
            best.insert(record.idx, record);
        }
        Ok(())
    }

    fn find(&mut self, query: Query<'_>, top_k: usize) -> Result<Vec<Passage>, Stop> {
        self.rank(&[query])?;
        let mut passages = self.passages(query)?;
        passages.truncate(top_k);
        Ok(passages)
    }
}

/// A search for a question: what a query transform made of it stands for the
/// question, and what an agent asks later is a question of its own.
pub fn query_of<'q>(spec: &ExperimentSpec, text: &'q str, question: &'q str) -> Query<'q> {
    match spec.options.contains_key("query_transform") {
        true => Query { text, question },
        false => Query::plain(text),
    }
}

/// The record of an answer that came before the last generation.
fn settled_prediction(question: &Question, settled: &Settled, attempt: u32) -> Prediction {
    let steps = &settled.trace.steps;
    let last = steps.iter().rev().find(|step| step["kind"] == "answer");
    let of_last = |key: &str| {
        let number = last.and_then(|step| step[key].as_u64());
        number
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(0)
    };
    let mut extra = Map::from_iter([("steps".to_owned(), Value::Array(steps.clone()))]);
    let cut = of_last("passages_cut");
    let mut sent = request(question.idx, &settled.ask);
    if cut > 0 {
        extra.insert("passages_cut".to_owned(), cut.into());
        sent = sent.without_last(cut);
    }
    Prediction {
        prediction: settled.text.trim().to_owned(),
        prompt: Some(sent.prompt),
        retrieved: retrieved(&settled.ask.passages),
        batch_size: of_last("batch_size"),
        tokens_in: settled.trace.tokens_in,
        tokens_out: settled.trace.tokens_out,
        latency_ms: settled.trace.latency_ms,
        extra,
        ..blank(question, attempt)
    }
}

impl Generated {
    /// Of no generation at all.
    fn nothing() -> Self {
        Self {
            outcome: Outcome {
                ending: Ending::Exhausted { last_failure: None },
                answered: 0,
                unanswered: 0,
                worker_reusable: true,
            },
            learned: None,
            model: None,
            failed_batch: None,
            taken_over: None,
            counts: Map::new(),
        }
    }

    /// Adds what a later round came to. Its ending is the ending of both,
    /// with the earlier one's failure where it has none.
    fn add(&mut self, later: Self) {
        let earlier = match &self.outcome.ending {
            Ending::Exhausted { last_failure } => last_failure.clone(),
            _ => None,
        };
        self.outcome.ending = match later.outcome.ending {
            Ending::Exhausted { last_failure } => Ending::Exhausted {
                last_failure: last_failure.or(earlier),
            },
            other => other,
        };
        self.outcome.answered += later.outcome.answered;
        self.outcome.unanswered += later.outcome.unanswered;
        self.outcome.worker_reusable = later.outcome.worker_reusable;
        self.learned = later.learned.or(self.learned);
        self.model = later.model.or(self.model.take());
        self.failed_batch = later.failed_batch.or(self.failed_batch);
        self.taken_over = later.taken_over;
        batches::add(&mut self.counts, &later.counts);
    }
}
