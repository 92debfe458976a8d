use super::dialogue::Trace;
use crate::{
    agents::Role,
    artifacts::{StepJournal, StepRecord},
    domain::{GenerationRequest, GenerationSettings, Question, Retrieved},
};
use std::collections::BTreeMap;

/// One question, ready to be asked.
pub struct Asked<'q> {
    pub question: &'q Question,
    pub request: GenerationRequest,
    pub retrieved: Vec<Retrieved>,
    /// What the reply is for.
    pub role: Role,
    /// Generations of the question before this one.
    pub step: usize,
    /// SHA-256 of the prompt; empty where no reply of it is kept by itself.
    pub digest: String,
    /// What was done for the question before; `None` where there is nothing
    /// to tell.
    pub trace: Option<Trace>,
}

impl<'q> Asked<'q> {
    /// A question that one generation answers.
    pub fn once(
        question: &'q Question,
        request: GenerationRequest,
        retrieved: Vec<Retrieved>,
    ) -> Self {
        Self {
            question,
            request,
            retrieved,
            role: Role::Answer,
            step: 0,
            digest: String::new(),
            trace: None,
        }
    }
}

/// Where replies go that are no answers yet.
pub struct InnerSteps<'a> {
    pub journal: &'a mut StepJournal,
    pub kept: &'a mut BTreeMap<(usize, usize), StepRecord>,
}

/// Prompts that are put to the model, each batch of them together.
pub struct Round<'a> {
    /// By question.
    pub asked: BTreeMap<usize, Asked<'a>>,
    /// How replies are decoded.
    pub decoding: GenerationSettings,
    /// Where replies go when they are no answers yet.
    pub inner: Option<InnerSteps<'a>>,
}
