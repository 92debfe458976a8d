//! Prompt templates and few-shot examples, and how a question with its
//! passages becomes the text that the model sees.
//!
//! The templates are data (`conf/prompts/*.yaml`, compiled in). A prompt is
//! resolved for a dataset before the study runs, so that its whole text is
//! part of an experiment's identity; [`render`] only fills in the question.
//! What agents ask beside the question is [`render_step`]'s.

mod library;
mod render;
mod step;
mod template;
#[cfg(test)]
mod tests;

pub use library::{Library, UNAVAILABLE, library};
pub use render::{Rendered, render};
pub use step::{StepPrompt, render_step};
