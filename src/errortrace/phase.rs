//! What the program was doing when it failed.

use super::{exception::Traceback, frame::Frame};
use serde::{Deserialize, Serialize};

/// What the program was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorPhase {
    /// Answering or scoring a test set.
    Evaluation,
    /// Training.
    Training,
    /// Serving or generating.
    Inference,
    /// Watching, logging, cleaning up.
    Monitoring,
    /// Importing, reading settings, loading weights, meeting other processes.
    Initialization,
    /// Nothing in the log says it.
    Unknown,
}

impl ErrorPhase {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evaluation => "evaluation",
            Self::Training => "training",
            Self::Inference => "inference",
            Self::Monitoring => "monitoring",
            Self::Initialization => "initialization",
            Self::Unknown => "unknown",
        }
    }
}

/// Names of functions and files, and what they belong to. The innermost frame
/// that has one decides; in a frame the first row does.
const FRAME_WORDS: [(&str, ErrorPhase); 46] = [
    ("evaluation_loop", ErrorPhase::Evaluation),
    ("prediction_step", ErrorPhase::Evaluation),
    ("predict_loop", ErrorPhase::Evaluation),
    ("validation_step", ErrorPhase::Evaluation),
    ("test_step", ErrorPhase::Evaluation),
    ("compute_metrics", ErrorPhase::Evaluation),
    ("evaluate", ErrorPhase::Evaluation),
    ("get_evaluator", ErrorPhase::Evaluation),
    ("run_eval", ErrorPhase::Evaluation),
    ("validate", ErrorPhase::Evaluation),
    ("eval.py", ErrorPhase::Evaluation),
    ("benchmark", ErrorPhase::Evaluation),
    ("_tensor.py:backward", ErrorPhase::Training),
    ("backward", ErrorPhase::Training),
    ("training_step", ErrorPhase::Training),
    ("train_step", ErrorPhase::Training),
    ("train_batch", ErrorPhase::Training),
    ("inner_training_loop", ErrorPhase::Training),
    ("train_epoch", ErrorPhase::Training),
    ("train_one_epoch", ErrorPhase::Training),
    ("optimizer", ErrorPhase::Training),
    ("compute_loss", ErrorPhase::Training),
    ("pretrain", ErrorPhase::Training),
    ("quantize", ErrorPhase::Training),
    ("execute_model", ErrorPhase::Inference),
    ("model_runner", ErrorPhase::Inference),
    ("generate", ErrorPhase::Inference),
    ("api_server", ErrorPhase::Inference),
    ("predict", ErrorPhase::Inference),
    ("from_pretrained", ErrorPhase::Initialization),
    ("load_state_dict", ErrorPhase::Initialization),
    ("load_model", ErrorPhase::Initialization),
    ("load_checkpoint", ErrorPhase::Initialization),
    ("load_dataset", ErrorPhase::Initialization),
    ("init_process_group", ErrorPhase::Initialization),
    ("init_distributed", ErrorPhase::Initialization),
    ("initialize", ErrorPhase::Initialization),
    ("init_device", ErrorPhase::Initialization),
    ("parse_args", ErrorPhase::Initialization),
    ("_find_and_load", ErrorPhase::Initialization),
    ("event_file_writer", ErrorPhase::Monitoring),
    ("wandb/", ErrorPhase::Monitoring),
    ("tensorboard", ErrorPhase::Monitoring),
    ("multiprocessing/queues", ErrorPhase::Monitoring),
    ("trainer.py", ErrorPhase::Training),
    ("train.py", ErrorPhase::Training),
];

/// Words in plain text. The last one before the failure decides.
const TEXT_WORDS: [(&str, ErrorPhase); 36] = [
    ("evaluating", ErrorPhase::Evaluation),
    ("evaluation", ErrorPhase::Evaluation),
    ("eval:", ErrorPhase::Evaluation),
    ("validating", ErrorPhase::Evaluation),
    ("validation", ErrorPhase::Evaluation),
    ("predicting", ErrorPhase::Evaluation),
    ("answering", ErrorPhase::Evaluation),
    ("answered", ErrorPhase::Evaluation),
    ("running loglikelihood", ErrorPhase::Evaluation),
    ("'loss':", ErrorPhase::Training),
    ("learning_rate", ErrorPhase::Training),
    ("epoch", ErrorPhase::Training),
    ("grad_norm", ErrorPhase::Training),
    ("training", ErrorPhase::Training),
    ("gradient", ErrorPhase::Training),
    ("train_", ErrorPhase::Training),
    ("train.py", ErrorPhase::Training),
    ("finetun", ErrorPhase::Training),
    ("fine-tun", ErrorPhase::Training),
    ("train loss", ErrorPhase::Training),
    ("optimizer", ErrorPhase::Training),
    ("sft", ErrorPhase::Training),
    ("generating", ErrorPhase::Inference),
    ("inference", ErrorPhase::Inference),
    ("kv cache", ErrorPhase::Inference),
    ("llama_", ErrorPhase::Inference),
    ("ggml_", ErrorPhase::Inference),
    ("vllm", ErrorPhase::Inference),
    ("sglang", ErrorPhase::Inference),
    ("enginecore", ErrorPhase::Inference),
    ("api_server", ErrorPhase::Inference),
    ("drivererror(", ErrorPhase::Inference),
    ("candle", ErrorPhase::Inference),
    ("prompt", ErrorPhase::Inference),
    ("loading checkpoint shards", ErrorPhase::Initialization),
    ("loading model", ErrorPhase::Initialization),
];

/// The log's own word for a phase.
pub(super) fn from_word(word: &str) -> ErrorPhase {
    let word = word.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
    if has(&[
        "eval",
        "valid",
        "test",
        "predict",
        "metric",
        "answer",
        "generating",
    ]) {
        ErrorPhase::Evaluation
    } else if has(&["train", "epoch", "fit"]) {
        ErrorPhase::Training
    } else if has(&["infer", "generat", "serv", "decode"]) {
        ErrorPhase::Inference
    } else if has(&["monitor", "heartbeat", "watchdog", "cleanup"]) {
        ErrorPhase::Monitoring
    } else if has(&["init", "setup", "load", "start", "config"]) {
        ErrorPhase::Initialization
    } else {
        ErrorPhase::Unknown
    }
}

fn of_frame(frame: &Frame) -> Option<ErrorPhase> {
    let name = frame.function.as_deref().unwrap_or("").to_ascii_lowercase();
    let file = frame.file.to_ascii_lowercase();
    let short = file
        .rsplit(['/', '\\'])
        .take(2)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect::<Vec<_>>()
        .join("/");
    FRAME_WORDS
        .iter()
        .find(|(word, _)| {
            name.contains(word) || (word.contains(['.', '/', '_']) && short.contains(word))
        })
        .map(|(_, phase)| *phase)
}

/// The phase that the innermost telling frame shows.
pub(super) fn of_traceback(traceback: &Traceback) -> ErrorPhase {
    let frames = || {
        traceback
            .exceptions
            .iter()
            .rev()
            .flat_map(|raised| raised.frames.iter().rev())
    };
    let found = frames().find_map(of_frame).unwrap_or(ErrorPhase::Unknown);
    if found != ErrorPhase::Unknown {
        // Sampling inside of a training loop is training.
        let trains = frames().any(|frame| of_frame(frame) == Some(ErrorPhase::Training));
        return match found {
            ErrorPhase::Inference if trains => ErrorPhase::Training,
            other => other,
        };
    }
    let script = frames().last();
    if let Some(name) = script.map(|frame| frame.file.to_ascii_lowercase()) {
        let name = name.rsplit(['/', '\\']).next().unwrap_or("").to_owned();
        let phase = from_word(&name);
        if phase != ErrorPhase::Unknown {
            return phase;
        }
        if name.contains("sft") || name.contains("dpo") || name.contains("finetune") {
            return ErrorPhase::Training;
        }
    }
    // Only module bodies: it was still importing.
    if frames().next().is_some()
        && frames().all(|frame| {
            matches!(frame.function.as_deref(), Some("<module>") | None)
                || frame.file.contains("<frozen")
        })
    {
        return ErrorPhase::Initialization;
    }
    ErrorPhase::Unknown
}

/// The phase that the text before a failure speaks of last.
pub(super) fn of_text(text: &str) -> ErrorPhase {
    let text = text.to_ascii_lowercase();
    TEXT_WORDS
        .iter()
        .filter_map(|(word, phase)| text.rfind(word).map(|at| (at, *phase)))
        .max_by_key(|(at, _)| *at)
        .map_or(ErrorPhase::Unknown, |(_, phase)| phase)
}
