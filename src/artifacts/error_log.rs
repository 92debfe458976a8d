use super::{
    atomic::{self, Durability},
    error::Result,
};
use crate::domain::{ExperimentKind, ExperimentSpec, Failure, FailureClass};
use std::path::Path;

/// `error.log`: why an experiment failed, for a person and for `errors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorLog {
    headline: String,
    /// `Key: value` lines, `Experiment` first.
    lines: Vec<(String, String)>,
    traceback: String,
}

impl ErrorLog {
    /// The log of an experiment's failure.
    pub fn new(spec: &ExperimentSpec, failure: &Failure) -> Self {
        let mut log = Self {
            headline: failure.first_line().to_owned(),
            lines: Vec::new(),
            traceback: traceback(failure),
        }
        .line("Experiment", &spec.name)
        .line("Model", spec.model.to_string())
        .line("Quantization", spec.quantization.as_str())
        .line("Dataset", &spec.dataset.name)
        .line(
            "Type",
            match spec.kind {
                ExperimentKind::Direct => "direct",
                ExperimentKind::Rag => "rag",
            },
        );
        if let Some(retriever) = &spec.retriever {
            log = log.line("Retriever", &retriever.name);
        }
        if let Some(top_k) = spec.top_k {
            log = log.line("Top-K", top_k.to_string());
        }
        log.line("Failure class", failure.class.as_str())
    }

    /// Says the size of the batch that failed; it stands before the class.
    #[must_use]
    pub fn batch_size(mut self, size: usize) -> Self {
        let place = self.lines.len().saturating_sub(1);
        self.lines
            .insert(place, ("Batch size".to_owned(), size.to_string()));
        self
    }

    /// Adds a line `key: value`; line breaks in it become blanks.
    #[must_use]
    pub fn line(mut self, key: &str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref().split_whitespace().collect::<Vec<_>>();
        self.lines.push((key.to_owned(), value.join(" ")));
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn advice(self, text: &str) -> Self {
        self.line("Advice", text)
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = format!("Error: {}\n\n", self.headline);
        for (key, value) in &self.lines {
            text.push_str(key);
            text.push_str(": ");
            text.push_str(value);
            text.push('\n');
        }
        text.push_str("\nTraceback:\n");
        text.push_str(self.traceback.trim_end());
        text.push('\n');
        text
    }

    /// Writes the file durably: nothing else keeps the whole error.
    ///
    /// # Errors
    /// When it can not be written.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        atomic::write(
            path,
            "error_log::write",
            Durability::Durable,
            self.render().as_bytes(),
        )
    }
}

/// The whole message, then what is known beyond it.
fn traceback(failure: &Failure) -> String {
    match &failure.detail {
        Some(detail) => format!("{}\n\n{}", failure.message.trim_end(), detail),
        None => failure.message.clone(),
    }
}

/// What `health` needs of an `error.log`, also of another program's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredErrorLog {
    /// What follows `Error:`.
    pub headline: Option<String>,
    /// The failure class, where the log names one.
    pub class: Option<FailureClass>,
    /// What to do about it, where the log says so.
    pub advice: Option<String>,
}

impl StoredErrorLog {
    /// Reads the head of a log; `None` when there is none.
    ///
    /// # Errors
    /// When it exists and can not be read.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let Some(bytes) = atomic::read(path)? else {
            return Ok(None);
        };
        Ok(Some(Self::parse(&String::from_utf8_lossy(&bytes))))
    }

    fn parse(text: &str) -> Self {
        let mut log = Self::default();
        for line in text.lines().take_while(|line| *line != "Traceback:") {
            let Some((key, value)) = line.split_once(": ") else {
                continue;
            };
            let value = value.trim();
            match key {
                "Error" if log.headline.is_none() => log.headline = Some(value.to_owned()),
                "Failure class" => {
                    log.class = FailureClass::ALL
                        .iter()
                        .copied()
                        .find(|class| class.as_str() == value);
                }
                "Advice" => log.advice = Some(value.to_owned()),
                _ => {}
            }
        }
        log
    }
}
