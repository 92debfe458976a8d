use super::{
    plan::{AgentPlan, QueryTransform},
    reply,
};
use crate::{
    domain::{AgentKind, Passage, Prompt},
    prompts::{Rendered, StepPrompt, render, render_step},
    retrieval::reciprocal_rank_fusion,
};
use std::collections::{HashMap, VecDeque};

/// The usual constant of reciprocal rank fusion.
const RRF_K: f64 = 60.0;

/// What a generation is for. The order is that in which questions are best
/// served when they stand at different steps: the earlier ones catch up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A step on the way.
    Inner(StepPrompt),
    /// An answer to the question.
    Answer,
}

impl Role {
    /// The word in traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inner(step) => step.as_str(),
            Self::Answer => "answer",
        }
    }
}

/// A prompt for the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// What it is for.
    pub role: Role,
    /// The prompt.
    pub prompt: Rendered,
    /// The passages in it, best first.
    pub passages: Vec<Passage>,
    /// Whether the reply is the question's answer, whatever it says.
    pub is_last: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Put this to the model.
    Generate(Ask),
    /// Find passages.
    Retrieve {
        /// What to search for.
        query: String,
        /// Passages at most.
        top_k: usize,
    },
    /// The question is answered.
    Answer {
        /// The answer.
        text: String,
        /// The prompt that it answers, with its passages.
        ask: Ask,
    },
}

/// What a step gave.
#[derive(Debug, Clone, PartialEq)]
pub enum StepResult {
    /// What the model replied.
    Generated(String),
    /// What was found, best first.
    Retrieved(Vec<Passage>),
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Start,
    Confidence,
    Transforming { query: String },
    Retrieving { queries: VecDeque<String> },
    Checking,
    Querying,
    Answering(Ask),
    Verifying { text: String, ask: Ask },
    Done { text: String, ask: Ask },
}

/// One question on its way to an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent<'q> {
    plan: AgentPlan,
    prompt: &'q Prompt,
    question: &'q str,
    state: State,
    /// Rounds of retrieval begun.
    round: usize,
    /// What was searched for so far, in small letters.
    searched: Vec<String>,
    /// What every search so far found.
    rankings: Vec<Vec<Passage>>,
    /// The passages of the next prompt.
    passages: Vec<Passage>,
    is_fallback: bool,
}

impl<'q> Agent<'q> {
    /// An agent at its beginning.
    pub fn new(plan: AgentPlan, prompt: &'q Prompt, question: &'q str) -> Self {
        Self {
            plan,
            prompt,
            question,
            state: State::Start,
            round: 0,
            searched: Vec::new(),
            rankings: Vec::new(),
            passages: Vec::new(),
            is_fallback: false,
        }
    }

    /// Takes what the last step gave (`None` at the beginning) and says what
    /// to do next. A result of another kind than was asked for is taken for
    /// an empty one.
    pub fn next(&mut self, result: Option<StepResult>) -> Step {
        let (mut text, mut found) = (String::new(), Vec::new());
        match result {
            Some(StepResult::Generated(reply)) => text = reply,
            Some(StepResult::Retrieved(passages)) => found = passages,
            None => {}
        }
        match std::mem::replace(&mut self.state, State::Start) {
            State::Start => match self.plan.kind {
                AgentKind::DirectLlm => self.answer(),
                AgentKind::SelfRag => self.inner(StepPrompt::Confidence, State::Confidence, ""),
                AgentKind::FixedRag | AgentKind::IterativeRag => {
                    self.begin_round(self.question.to_owned())
                }
            },
            State::Confidence => {
                // A model that can not even say how sure it is looks it up.
                let sure = reply::confidence(&text)
                    .is_some_and(|share| share >= self.plan.retrieval_threshold);
                if sure {
                    self.answer()
                } else {
                    self.begin_round(self.question.to_owned())
                }
            }
            State::Transforming { query } => {
                let mut queries = VecDeque::from([query]);
                match self.plan.transform {
                    Some(QueryTransform::Hyde) => {
                        let passage = text.trim();
                        queries.extend((!passage.is_empty()).then(|| passage.to_owned()));
                    }
                    _ => {
                        let others = reply::queries(&text).into_iter();
                        let others: Vec<String> =
                            others.filter(|other| !queries.contains(other)).collect();
                        queries.extend(others);
                    }
                }
                self.retrieve(queries)
            }
            State::Retrieving { queries } => {
                self.rankings.push(found);
                self.retrieve(queries)
            }
            State::Checking if reply::says_yes(&text) => self.answer(),
            State::Checking => self.inner(StepPrompt::Query, State::Querying, ""),
            State::Querying => {
                let query = reply::query(&text);
                let query = query.unwrap_or_else(|| self.question.to_owned());
                // A model that repeats itself has nothing more to look for.
                match self.has_searched(&query) {
                    true => self.answer(),
                    false => self.begin_round(query),
                }
            }
            State::Answering(ask) if ask.is_last => self.done(text, ask),
            State::Answering(ask) => {
                let verifying = State::Verifying {
                    text: text.clone(),
                    ask,
                };
                self.inner(StepPrompt::Support, verifying, &text)
            }
            State::Verifying { text: answer, ask } => {
                if reply::says_yes(&text) || !self.plan.fallback_to_direct {
                    return self.done(answer, ask);
                }
                self.is_fallback = true;
                self.passages.clear();
                self.answer()
            }
            State::Done { text, ask } => self.done(text, ask),
        }
    }

    fn has_searched(&self, query: &str) -> bool {
        self.searched.contains(&query.to_lowercase())
    }

    fn begin_round(&mut self, query: String) -> Step {
        self.round += 1;
        let step = match self.plan.transform {
            Some(QueryTransform::Hyde) => StepPrompt::Hyde,
            Some(QueryTransform::Multiquery) => StepPrompt::Multiquery,
            None => return self.retrieve(VecDeque::from([query])),
        };
        let prompt = render_step(step, self.prompt, &query, &[], "");
        self.state = State::Transforming { query };
        Step::Generate(Ask {
            role: Role::Inner(step),
            prompt,
            passages: Vec::new(),
            is_last: false,
        })
    }

    /// Searches for the first of `queries`, or goes on when none is left. One
    /// that was searched for before would only count twice.
    fn retrieve(&mut self, mut queries: VecDeque<String>) -> Step {
        queries.retain(|query| !self.has_searched(query));
        if let Some(query) = queries.pop_front() {
            self.searched.push(query.to_lowercase());
            self.state = State::Retrieving { queries };
            return Step::Retrieve {
                query,
                top_k: self.plan.top_k,
            };
        }
        self.passages = fuse(&self.rankings, self.plan.top_k);
        let is_iterative = self.plan.kind == AgentKind::IterativeRag;
        if !is_iterative || self.round >= self.plan.max_iterations {
            return self.answer();
        }
        // Nothing at all can not suffice.
        if self.plan.stop_on_sufficient && !self.passages.is_empty() {
            self.inner(StepPrompt::Sufficiency, State::Checking, "")
        } else {
            self.inner(StepPrompt::Query, State::Querying, "")
        }
    }

    fn inner(&mut self, step: StepPrompt, next: State, answer: &str) -> Step {
        self.state = next;
        Step::Generate(Ask {
            role: Role::Inner(step),
            prompt: render_step(step, self.prompt, self.question, &self.passages, answer),
            passages: self.passages.clone(),
            is_last: false,
        })
    }

    fn answer(&mut self) -> Step {
        let is_verified = self.plan.kind == AgentKind::SelfRag
            && self.plan.verify_answer
            && !self.passages.is_empty()
            && !self.is_fallback;
        let ask = Ask {
            role: Role::Answer,
            prompt: render(self.prompt, self.question, &self.passages),
            passages: self.passages.clone(),
            is_last: !is_verified,
        };
        self.state = State::Answering(ask.clone());
        Step::Generate(ask)
    }

    fn done(&mut self, text: String, ask: Ask) -> Step {
        self.state = State::Done {
            text: text.clone(),
            ask: ask.clone(),
        };
        Step::Answer { text, ask }
    }
}

/// The best `top_k` of what several searches found. One search stays as it
/// is; of several, reciprocal ranks decide and are the scores.
fn fuse(rankings: &[Vec<Passage>], top_k: usize) -> Vec<Passage> {
    if let [only] = rankings {
        return only.iter().take(top_k).cloned().collect();
    }
    let ids: Vec<Vec<&str>> = rankings
        .iter()
        .map(|ranking| ranking.iter().map(|passage| passage.id.as_str()).collect())
        .collect();
    let ids: Vec<&[&str]> = ids.iter().map(Vec::as_slice).collect();
    let by_id: HashMap<&str, &Passage> = rankings
        .iter()
        .flatten()
        .map(|passage| (passage.id.as_str(), passage))
        .collect();
    reciprocal_rank_fusion(&ids, RRF_K)
        .into_iter()
        .take(top_k)
        .filter_map(|(id, score)| {
            let passage = (*by_id.get(id)?).clone();
            Some(Passage { score, ..passage })
        })
        .collect()
}
