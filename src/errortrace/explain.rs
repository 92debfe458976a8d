//! What an error means and what to do about it.

use super::{
    advice,
    classify::{self, Confidence, ErrorClass},
    phase::ErrorPhase,
    rules::{Role, Rule, RuleClass},
    server,
};
use crate::domain::FailureClass;
use serde::{Deserialize, Serialize};

/// What is known of the study around a failure; advice names these values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// The experiment's name.
    pub experiment: Option<String>,
    /// The model, as the study names it.
    pub model: Option<String>,
    /// `none`, `8bit` or `4bit`.
    pub quantization: Option<String>,
    /// Questions in a batch when it failed.
    pub batch_size: Option<usize>,
    /// The dataset.
    pub dataset: Option<String>,
    /// The retriever.
    pub retriever: Option<String>,
    /// Passages in the prompt.
    pub top_k: Option<usize>,
    /// What the program was doing, when that is known.
    pub phase: Option<ErrorPhase>,
}

/// What an error means and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The class.
    #[serde(rename = "error_type")]
    pub class: ErrorClass,
    /// The finer class: `oom_gpu`, `tokenizer`, `port_in_use` ...
    pub subtype: String,
    /// What the program was doing.
    #[serde(rename = "error_phase")]
    pub phase: ErrorPhase,
    /// What happened, in plain words.
    pub description: String,
    /// How sure this is.
    pub confidence: Confidence,
    /// What to change, the most promising first.
    pub suggestions: Vec<String>,
}

/// The class of a rule's row, in a phase.
pub(super) fn class_of(rule: &Rule, phase: ErrorPhase, hint: ErrorPhase) -> ErrorClass {
    match rule.class {
        RuleClass::Timeout => ErrorClass::Timeout,
        RuleClass::Cuda => ErrorClass::CudaError,
        RuleClass::Config => ErrorClass::ConfigError,
        RuleClass::Unknown => ErrorClass::Unknown,
        RuleClass::Oom => match (phase, hint) {
            (ErrorPhase::Training, _) => ErrorClass::OomTraining,
            (ErrorPhase::Evaluation | ErrorPhase::Inference, _) => ErrorClass::OomEval,
            (_, ErrorPhase::Training) => ErrorClass::OomTraining,
            // Loading for inference is the commoner case of loading.
            _ => ErrorClass::OomEval,
        },
    }
}

/// The sentences of the advice for `context` on what `rule` says of `message`.
pub(super) fn suggestions(rule: &Rule, message: &str, context: &Context) -> Vec<String> {
    if server::is_named(message) {
        sentences(server::advice(Some(rule), message), context)
    } else {
        sentences(rule.advice, context)
    }
}

fn sentences(advice: &[advice::Tip], context: &Context) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for tip in advice {
        let sentence = advice::render(tip, context);
        if !out.contains(&sentence) {
            out.push(sentence);
        }
    }
    out
}

/// Explains a failure of one of our own experiments. `message` is what it
/// said, `class` what the executor took it for, `detail` its error chain or
/// the tail of the worker's log.
pub fn explain_failure(
    message: &str,
    class: FailureClass,
    detail: Option<&str>,
    context: &Context,
) -> Explanation {
    let phase = context.phase.unwrap_or(ErrorPhase::Evaluation);
    let of_server = server::has_failed(message, class, context);
    // What a server says is not what failed here.
    let fits = |rule: &&Rule| of_server || compatible(rule.class, class);
    let subject: String = message.chars().take(3000).collect();
    let said = classify::find(&subject).filter(fits);
    // `killed` and `worker died` only say that; the log's tail may say of what.
    let vague = said
        .is_none_or(|rule| rule.role == Role::Echo || matches!(rule.subtype, "killed" | "abort"));
    let told = detail
        .filter(|_| vague)
        .and_then(|detail| from_detail(detail, class));
    let certain = told.is_none();
    let rule = told.or(said);
    let fallback = match of_server {
        true => server_fallback(class),
        false => fallback(class),
    };
    let advised = |advice| match of_server {
        true => sentences(server::advice(rule, message), context),
        false => sentences(advice, context),
    };
    let mut explanation = match rule {
        Some(rule) => Explanation {
            class: if rule.class == RuleClass::Unknown {
                fallback.class
            } else {
                class_of(rule, phase, ErrorPhase::Evaluation)
            },
            subtype: rule.subtype.to_owned(),
            phase,
            description: rule.description.to_owned(),
            confidence: if certain {
                rule.confidence
            } else {
                rule.confidence.min(Confidence::Medium)
            },
            suggestions: advised(rule.advice),
        },
        None => Explanation {
            class: fallback.class,
            subtype: fallback.subtype.to_owned(),
            phase,
            description: fallback.description.to_owned(),
            confidence: Confidence::Medium,
            suggestions: advised(fallback.advice),
        },
    };
    for tip in fallback.advice {
        let sentence = advice::render(tip, context);
        if explanation.suggestions.len() < 4 && !explanation.suggestions.contains(&sentence) {
            explanation.suggestions.push(sentence);
        }
    }
    explanation
}

/// Explains why an experiment whose questions are answered has not all of its
/// metrics, from what was said about those that are missing.
pub fn explain_missing_metrics(message: &str, context: &Context) -> Explanation {
    let mut explanation = explain_failure(message, FailureClass::Permanent, None, context);
    if explanation.subtype == fallback(FailureClass::Permanent).subtype {
        "missing_metrics".clone_into(&mut explanation.subtype);
    }
    explanation.description = format!(
        "The answers are there, and metrics of them are missing. {}",
        explanation.description
    );
    explanation
}

/// Whether a row can be what the executor took a failure for.
fn compatible(rule: RuleClass, class: FailureClass) -> bool {
    match class {
        FailureClass::Oom => rule == RuleClass::Oom,
        FailureClass::Transient | FailureClass::DeviceLost => rule == RuleClass::Cuda,
        FailureClass::Timeout | FailureClass::Hang => rule == RuleClass::Timeout,
        FailureClass::WorkerDied => rule != RuleClass::Config,
        FailureClass::BadItem | FailureClass::Permanent | FailureClass::Environment => {
            matches!(rule, RuleClass::Config | RuleClass::Unknown)
        }
    }
}

/// The cause that the tail of a log shows.
fn from_detail(detail: &str, class: FailureClass) -> Option<&'static Rule> {
    let rule = detail
        .lines()
        .rev()
        .take(400)
        .filter(|line| line.len() < 4000)
        .filter_map(classify::find_alone)
        .last()?;
    compatible(rule.class, class).then_some(rule)
}

struct Fallback {
    class: ErrorClass,
    subtype: &'static str,
    description: &'static str,
    advice: &'static [advice::Tip],
}

/// What the executor's class alone says of a model behind a server.
const fn server_fallback(class: FailureClass) -> Fallback {
    match class {
        FailureClass::Transient | FailureClass::DeviceLost => Fallback {
            class: ErrorClass::Unknown,
            subtype: "server",
            description: "The server that answers for the model failed again and again.",
            advice: &[],
        },
        FailureClass::Permanent => Fallback {
            class: ErrorClass::ConfigError,
            subtype: "server",
            description: "The server does not take the requests as they are; trying again will not help.",
            advice: &[advice::FIX_CONFIG, advice::RESUME],
        },
        _ => fallback(class),
    }
}

/// What the executor's class alone says.
const fn fallback(class: FailureClass) -> Fallback {
    match class {
        FailureClass::Oom => Fallback {
            class: ErrorClass::OomEval,
            subtype: "oom_gpu",
            description: "Memory ran out while answering questions.",
            advice: &[
                advice::HALVE_BATCH,
                advice::QUANTIZE,
                advice::FEWER_PASSAGES,
            ],
        },
        FailureClass::Transient => Fallback {
            class: ErrorClass::CudaError,
            subtype: "launch_config",
            description: "A call on the device failed; a smaller batch usually passes.",
            advice: &[advice::LOWER_LAUNCH, advice::OTHER_QUANTIZATION],
        },
        FailureClass::DeviceLost => Fallback {
            class: ErrorClass::CudaError,
            subtype: "cuda",
            description: "The device's context became unusable.",
            advice: &[advice::RESTART_PROCESS, advice::LAUNCH_BLOCKING],
        },
        FailureClass::WorkerDied => Fallback {
            class: ErrorClass::Unknown,
            subtype: "worker_died",
            description: "The worker process that holds the model died.",
            advice: &[advice::WORKER_LOG, advice::HALVE_BATCH],
        },
        FailureClass::Hang => Fallback {
            class: ErrorClass::Timeout,
            subtype: "hang",
            description: "No token and no answer came within batch_timeout.",
            advice: &[advice::HALVE_BATCH, advice::LONGER_TIMEOUT],
        },
        FailureClass::BadItem => Fallback {
            class: ErrorClass::ConfigError,
            subtype: "bad_item",
            description: "This question can not be answered as it is.",
            advice: &[advice::FEWER_PASSAGES],
        },
        FailureClass::Permanent => Fallback {
            class: ErrorClass::ConfigError,
            subtype: "permanent",
            description: "The experiment can not run as it is configured; trying again will not help.",
            advice: &[advice::FIX_CONFIG, advice::RESUME],
        },
        FailureClass::Timeout => Fallback {
            class: ErrorClass::Timeout,
            subtype: "timeout",
            description: "The time limit of the experiment or of loading its model passed.",
            advice: &[advice::LONGER_TIMEOUT, advice::RESUME],
        },
        FailureClass::Environment => Fallback {
            class: ErrorClass::ConfigError,
            subtype: "disk_full",
            description: "Results could not be written: the disk is full or the directory is gone.",
            advice: &[advice::FREE_DISK, advice::RESUME],
        },
    }
}
