//! Our own `error.log`.

use super::explain::Context;
use crate::domain::FailureClass;

/// What an experiment's `error.log` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorLog {
    /// The first line of the error.
    pub message: String,
    /// The study's values around it.
    pub context: Context,
    /// What the executor took it for.
    pub failure_class: Option<FailureClass>,
    /// What stands below `Traceback:`.
    pub traceback: Option<String>,
}

/// Reads an `error.log`; `None` when the text is none.
pub fn parse_error_log(text: &str) -> Option<ErrorLog> {
    let mut lines = text.lines();
    let message = lines.next()?.strip_prefix("Error: ")?.trim().to_owned();
    let mut log = ErrorLog {
        message,
        ..ErrorLog::default()
    };
    let mut known = false;
    while let Some(line) = lines.next() {
        if line.trim_end() == "Traceback:" {
            let rest: Vec<&str> = lines.collect();
            log.traceback = Some(rest.join("\n")).filter(|rest| !rest.trim().is_empty());
            break;
        }
        let Some((key, value)) = line.split_once(": ") else {
            continue;
        };
        let value = value.trim().to_owned();
        known |= matches!(key, "Experiment" | "Model");
        match key {
            "Experiment" => log.context.experiment = Some(value),
            "Model" => log.context.model = Some(value),
            "Quantization" => log.context.quantization = Some(value),
            "Dataset" => log.context.dataset = Some(value),
            "Retriever" => log.context.retriever = Some(value),
            "Top-K" => log.context.top_k = value.parse().ok(),
            "Batch size" => log.context.batch_size = value.parse().ok(),
            "Failure class" => {
                log.failure_class = FailureClass::ALL
                    .into_iter()
                    .find(|class| class.as_str() == value);
            }
            _ => {}
        }
    }
    known.then_some(log)
}
