//! What an experiment is made of: its model, its questions and their passages.

use super::{
    dialogue,
    experiment::{ExperimentRun, Stop},
    lane::patiently,
    questions::{changed_question, own_passages, stored_questions},
    retrieval::Shelf,
    round::Asked,
};
use crate::{
    artifacts::{QuestionsFile, State},
    domain::{Failure, FailureClass, GenerationRequest, Passage, Question},
    index::Query,
    prompts,
};
use std::{collections::BTreeMap, ops::ControlFlow, sync::MutexGuard};

impl ExperimentRun<'_, '_> {
    /// The model's files, before anything is done for it.
    pub(super) fn model(&mut self) -> Result<(), Stop> {
        let (lease, ears) = (&mut self.lease, &mut *self.ears);
        let mut said = String::new();
        self.resources
            .model(&self.spec.model, &mut |progress| {
                if let Some(progress) = progress
                    && progress.file != said
                {
                    said.clone_from(&progress.file);
                    ears.remark(&format!(
                        "{}: fetching {} ({} MB)",
                        self.spec.model,
                        progress.file,
                        progress.total / 1_000_000
                    ));
                }
                // A long download is no reason for others to think us dead.
                // A lease that is lost all the same is seen at the next write.
                let _ = lease.keep_alive();
            })
            .map(|base| self.supervisor.base = base)
            .map_err(|why| Stop::Fail(Failure::new(FailureClass::Permanent, why)))
    }

    /// The experiment's questions: what the dataset has now, which must agree
    /// with what was asked before.
    pub(super) fn questions(&mut self, state: &State) -> Result<Vec<Question>, Stop> {
        let (lease, ears) = (&mut self.lease, &mut *self.ears);
        let dataset = self
            .resources
            .fetch_dataset(
                &self.spec.dataset,
                self.settings.num_questions,
                &mut |progress| {
                    if let Some(progress) = progress.filter(|progress| progress.bytes == 0) {
                        ears.remark(&format!(
                            "dataset {}: fetching {} ({} MB)",
                            self.spec.dataset.name,
                            progress.file,
                            progress.total / 1_000_000
                        ));
                    }
                    let _ = lease.keep_alive();
                },
            )
            .map_err(|why| Failure::new(FailureClass::Permanent, why))?;
        self.resources.is_asked(&self.spec.dataset);
        if self.resources.is_news(&dataset) {
            for warning in dataset.warnings(self.settings.num_questions) {
                self.ears.remark(&warning);
            }
        }
        if self.spec.reads_own_passages()
            && dataset.questions.iter().all(|one| one.context.is_empty())
        {
            let message = format!(
                "no question of {} has passages of its own: say where they are with \
                 `fields: {{context: KEY}}`, or name another retriever than gold",
                dataset.source.display()
            );
            return Err(Failure::new(FailureClass::Permanent, message).into());
        }
        if let Some(message) = changed_question(&self.dir, &dataset, self.settings.num_questions)? {
            return Err(self.origin.refuse(message).into());
        }
        let stored = stored_questions(&self.dir)?;
        let same = stored.is_some_and(|stored| stored.questions == dataset.questions);
        if !same || state.attempt == 1 {
            self.dir.write_questions(&QuestionsFile::new(
                &self.spec.name,
                &self.spec.dataset.name,
                dataset.questions.clone(),
            ))?;
        }
        Ok(dataset.questions.clone())
    }

    /// Sees to it that passages are found for queries. Those of most questions
    /// were found before the first experiment began.
    pub(super) fn rank(&mut self, queries: &[Query<'_>]) -> Result<(), Stop> {
        let (lease, ears, signals) = (&mut self.lease, &mut *self.ears, self.signals);
        let mut remark = |remark: Option<&str>| {
            if let Some(remark) = remark {
                ears.remark(remark);
            }
            // As in `model`: a long search is no reason to be thought dead.
            let _ = lease.keep_alive();
            match signals.is_stopping() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        // Another lane may be searching.
        let mut shelf =
            patiently(self.shelf, &mut || remark(None).is_continue()).ok_or(Stop::Interrupted)?;
        let ranked = shelf.rank(self.spec, queries, self.resources, &mut remark);
        if let Some(retriever) = &self.spec.retriever {
            self.index = shelf.identity(retriever).or(self.index.take());
        }
        drop(shelf);
        if signals.is_stopping() {
            return Err(Stop::Interrupted);
        }
        ranked?;
        if let Some(now) = &self.index
            && let Some(failure) = self.origin.refuse_index(now)
        {
            return Err(failure.into());
        }
        Ok(())
    }

    /// The passages for a query that was ranked.
    pub(super) fn passages(&mut self, query: Query<'_>) -> Result<Vec<Passage>, Stop> {
        let spec = self.spec;
        Ok(self.shelf()?.passages(spec, query)?)
    }

    /// What finds passages, as soon as no other lane is at it.
    pub(super) fn shelf(&mut self) -> Result<MutexGuard<'_, Shelf>, Stop> {
        let (lease, signals) = (&mut self.lease, self.signals);
        let mut go_on = || {
            let _ = lease.keep_alive();
            !signals.is_stopping()
        };
        patiently(self.shelf, &mut go_on).ok_or(Stop::Interrupted)
    }

    /// Retrieves passages and renders prompts.
    pub(super) fn ask<'a>(
        &mut self,
        outstanding: &[&'a Question],
    ) -> Result<BTreeMap<usize, Asked<'a>>, Stop> {
        let mut asked = BTreeMap::new();
        let queries: Vec<Query<'_>> = outstanding
            .iter()
            .map(|question| Query::plain(&question.question))
            .collect();
        let has_own = self.spec.reads_own_passages();
        if !has_own {
            self.rank(&queries)?;
            self.shelf()?.release_models();
        }
        for (question, query) in outstanding.iter().zip(queries) {
            if self.signals.is_stopping() {
                return Err(Stop::Interrupted);
            }
            let passages = match has_own {
                true => own_passages(self.spec, question),
                false => self.passages(query)?,
            };
            let rendered = prompts::render(&self.spec.prompt, &question.question, &passages);
            let retrieved = dialogue::retrieved(&passages);
            let request = GenerationRequest {
                idx: question.idx,
                system: rendered.system,
                prompt: rendered.text,
                raw: false,
                passages: rendered.passages,
            };
            asked.insert(question.idx, Asked::once(question, request, retrieved));
        }
        Ok(asked)
    }
}
