//! How a question becomes calls of the model and the retriever.
//!
//! An [`Agent`] is a state machine for one question: [`Agent::next`] takes
//! what the last step gave and says what to do next. It is a function of its
//! results and nothing else, so that a run that was killed replays what was
//! kept and goes on at the step that is missing, and so that questions at the
//! same step can be put to the model together.
//!
//! - `direct_llm`: one generation.
//! - `fixed_rag`: retrieve once, then one generation.
//! - `iterative_rag`: `max_iterations` rounds of retrieval. Between two rounds
//!   the model is asked whether the passages suffice (which ends the rounds,
//!   unless `stop_on_sufficient` is false), then what to search for next.
//! - `self_rag`: the model says how sure it is; below `retrieval_threshold`
//!   passages are retrieved. With `verify_answer` it is asked whether the
//!   passages support its answer; with `fallback_to_direct` an unsupported
//!   answer is replaced by one without passages.
//!
//! A query transform (`hyde`, `multiquery`) is a generation before each
//! retrieval. What several queries find is fused by reciprocal ranks.

mod agent;
mod plan;
mod reply;
#[cfg(test)]
mod tests;

pub use agent::{Agent, Ask, Role, Step, StepResult};
pub use plan::{AgentPlan, QueryTransform};
