use super::{
    library::library,
    render::{Rendered, render_context},
    template::fill,
};
use crate::domain::{Passage, Prompt};

/// What a model is asked beside the question itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepPrompt {
    /// How sure it is that it knows the answer, from 0 to 1.
    Confidence,
    /// A passage that could answer the question, to search with.
    Hyde,
    /// The question in other words, one a line.
    Multiquery,
    /// Whether the passages suffice to answer.
    Sufficiency,
    /// What to search for next.
    Query,
    /// Whether the passages support an answer.
    Support,
}

impl StepPrompt {
    /// The word in `conf/prompts/steps.yaml` and in traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confidence => "confidence",
            Self::Hyde => "hyde",
            Self::Multiquery => "multiquery",
            Self::Sufficiency => "sufficiency",
            Self::Query => "query",
            Self::Support => "support",
        }
    }

    /// Tokens that a reply may have.
    pub fn tokens(self) -> usize {
        library().step(self.as_str()).tokens
    }
}

/// Fills a step's prompt in. Passages are written as `prompt` writes them.
/// Text of questions, passages and answers is never searched for placeholders.
pub fn render_step(
    step: StepPrompt,
    prompt: &Prompt,
    question: &str,
    passages: &[Passage],
    answer: &str,
) -> Rendered {
    let (context, ranges) = render_context(prompt, passages);
    let filled = fill(
        &library().step(step.as_str()).text,
        &[
            ("question", question.trim()),
            ("context", &context),
            ("answer", answer.trim()),
        ],
    );
    Rendered::new(None, filled, &ranges)
}
