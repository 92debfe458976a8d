use super::round::Asked;
use crate::{
    agents::{Agent, AgentPlan, Ask, Role, Step, StepResult},
    artifacts::StepRecord,
    domain::{GenerationRequest, Passage, Prediction, Prompt, Question, Retrieved},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, time::Instant};

/// What was done for a question before the generation at hand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// One object per step.
    pub steps: Vec<Value>,
    pub tokens_in: usize,
    pub tokens_out: usize,
    pub latency_ms: u64,
}

impl Trace {
    /// Adds a generation with what it gave.
    pub fn generated(&mut self, ask: &Generation<'_>) {
        self.tokens_in += ask.tokens_in;
        self.tokens_out += ask.tokens_out;
        self.latency_ms += ask.latency_ms;
        let mut step = json!({
            "kind": ask.kind,
            "passages": ask.passages,
            "output": ask.output,
            "tokens_in": ask.tokens_in,
            "tokens_out": ask.tokens_out,
            "latency_ms": ask.latency_ms,
            "batch_size": ask.batch_size,
        });
        if ask.passages_cut > 0 {
            step["passages_cut"] = ask.passages_cut.into();
        }
        self.steps.push(step);
    }

    fn retrieved(&mut self, query: &str, passages: &[Passage], latency_ms: u64) {
        self.latency_ms += latency_ms;
        self.steps.push(json!({
            "kind": "retrieve",
            "query": query,
            "passages": ids(passages),
            "latency_ms": latency_ms,
        }));
    }
}

/// The queries that a prediction was searched for with, in order; `None` for
/// one that tells no steps.
pub fn queries(prediction: &Prediction) -> Option<Vec<String>> {
    let steps = prediction.extra.get("steps")?.as_array()?;
    let searches = steps.iter().filter(|step| step["kind"] == "retrieve");
    let queries = searches.filter_map(|step| step["query"].as_str().map(str::to_owned));
    Some(queries.collect())
}

/// Whether a prediction's agent has not searched at all, on purpose.
pub fn went_without_search(prediction: &Prediction) -> bool {
    queries(prediction).is_some_and(|queries| queries.is_empty())
}

/// A generation as a trace shows it.
pub struct Generation<'a> {
    pub kind: &'a str,
    pub passages: &'a [String],
    pub output: &'a str,
    pub tokens_in: usize,
    pub tokens_out: usize,
    pub latency_ms: u64,
    pub batch_size: usize,
    pub passages_cut: usize,
}

/// Finds passages: a query, and how many at most.
pub type Find<'f, E> = dyn FnMut(&str, usize) -> Result<Vec<Passage>, E> + 'f;

/// A question with its agent, on the way to an answer.
pub struct Dialogue<'q> {
    pub question: &'q Question,
    agent: Agent<'q>,
    trace: Trace,
    /// Generations that have a reply.
    replies: usize,
    waiting: Option<Ask>,
}

/// An answer that came before the last generation.
pub struct Settled {
    pub text: String,
    pub ask: Ask,
    pub trace: Trace,
}

impl<'q> Dialogue<'q> {
    pub fn new(plan: AgentPlan, prompt: &'q Prompt, question: &'q Question) -> Self {
        Self {
            question,
            agent: Agent::new(plan, prompt, &question.question),
            trace: Trace::default(),
            replies: 0,
            waiting: None,
        }
    }

    /// Goes on until a reply is needed that is not among those kept, or until
    /// there is an answer.
    pub fn advance<E>(
        &mut self,
        kept: &BTreeMap<(usize, usize), StepRecord>,
        find: &mut Find<'_, E>,
    ) -> Result<Option<Settled>, E> {
        let mut result = None;
        loop {
            let step = match self.waiting.take() {
                Some(ask) => Step::Generate(ask),
                None => self.agent.next(result.take()),
            };
            match step {
                Step::Retrieve { query, top_k } => {
                    let start = Instant::now();
                    let passages = find(&query, top_k)?;
                    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.trace.retrieved(&query, &passages, millis);
                    result = Some(StepResult::Retrieved(passages));
                }
                Step::Generate(ask) => match self.reply(&ask, kept) {
                    Some(text) => result = Some(StepResult::Generated(text)),
                    None => {
                        self.waiting = Some(ask);
                        return Ok(None);
                    }
                },
                Step::Answer { text, ask } => {
                    return Ok(Some(Settled {
                        text,
                        ask,
                        trace: self.trace.clone(),
                    }));
                }
            }
        }
    }

    /// The kept reply to a prompt, which goes into the trace.
    fn reply(&mut self, ask: &Ask, kept: &BTreeMap<(usize, usize), StepRecord>) -> Option<String> {
        let record = kept.get(&(self.question.idx, self.replies))?;
        if record.prompt != digest(ask) {
            return None;
        }
        self.replies += 1;
        self.trace.generated(&Generation {
            kind: &record.kind,
            passages: &ids(&ask.passages),
            output: &record.text,
            tokens_in: record.tokens_in,
            tokens_out: record.tokens_out,
            latency_ms: record.latency_ms,
            batch_size: record.batch_size,
            passages_cut: record.passages_cut,
        });
        Some(record.text.clone())
    }

    /// What it waits for: the role, and whether the reply is the answer.
    pub fn waits_for(&self) -> Option<(Role, bool)> {
        self.waiting.as_ref().map(|ask| (ask.role, ask.is_last))
    }

    /// The prompt that it waits for a reply to.
    pub fn asked(&self) -> Option<Asked<'q>> {
        let ask = self.waiting.as_ref()?;
        Some(Asked {
            question: self.question,
            request: request(self.question.idx, ask),
            retrieved: retrieved(&ask.passages),
            role: ask.role,
            step: self.replies,
            digest: digest(ask),
            trace: Some(self.trace.clone()),
        })
    }
}

/// The request that puts a prompt to the model.
pub fn request(idx: usize, ask: &Ask) -> GenerationRequest {
    GenerationRequest {
        idx,
        system: ask.prompt.system.clone(),
        prompt: ask.prompt.text.clone(),
        raw: false,
        passages: ask.prompt.passages.clone(),
    }
}

/// A record that nothing is known of yet but its question.
pub fn blank(question: &Question, attempt: u32) -> Prediction {
    Prediction {
        idx: question.idx,
        question: question.question.clone(),
        prediction: String::new(),
        expected: question.expected.clone(),
        prompt: None,
        error: None,
        failure_class: None,
        aborted: false,
        retrieved: Vec::new(),
        batch_size: 0,
        attempt,
        tokens_in: 0,
        tokens_out: 0,
        latency_ms: 0,
        metrics: Map::new(),
        extra: Map::new(),
    }
}

/// Passages as predictions keep them.
pub fn retrieved(passages: &[Passage]) -> Vec<Retrieved> {
    passages
        .iter()
        .map(|passage| Retrieved {
            id: passage.id.clone(),
            score: passage.score,
        })
        .collect()
}

fn ids(passages: &[Passage]) -> Vec<String> {
    passages.iter().map(|passage| passage.id.clone()).collect()
}

/// SHA-256 of a prompt, in hexadecimal.
fn digest(ask: &Ask) -> String {
    let mut hash = Sha256::new();
    hash.update(ask.prompt.system.as_deref().unwrap_or_default());
    hash.update([0]);
    hash.update(&ask.prompt.text);
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
