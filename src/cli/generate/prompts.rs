use crate::cli::CliError;
use anyhow::anyhow;
use serde::Deserialize;
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

/// What is to be completed.
#[derive(Debug, PartialEq, Eq)]
pub enum Prompt {
    /// A text, for the chat template and the tokenizer.
    Text(PromptText),
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
}

/// A prompt as text.
#[derive(Debug, PartialEq, Eq)]
pub struct PromptText {
    /// A system message of its own.
    pub system: Option<String>,
    /// The user's text.
    pub prompt: String,
}

impl PromptText {
    /// A text without a system message.
    pub fn plain(text: &str) -> Self {
        Self {
            system: None,
            prompt: text.to_owned(),
        }
    }
}

/// A line of JSONL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: Option<String>,
    system: Option<String>,
    token_ids: Option<Vec<u32>>,
}

/// The prompts of a file.
pub fn of_file(path: &Path) -> Result<Vec<Prompt>, CliError> {
    if path == Path::new("-") {
        return of_stdin();
    }
    let name = path.display().to_string();
    let file = File::open(path)
        .map_err(|error| CliError::usage(anyhow!("--prompts: {name} can not be read: {error}")))?;
    of_lines(&name, BufReader::new(file))
}

/// The prompts on standard input.
pub fn of_stdin() -> Result<Vec<Prompt>, CliError> {
    of_lines("standard input", std::io::stdin().lock())
}

fn of_lines(name: &str, lines: impl BufRead) -> Result<Vec<Prompt>, CliError> {
    let mut prompts = Vec::new();
    for (index, line) in lines.lines().enumerate() {
        let wrong = |what: String| CliError::usage(anyhow!("{name}:{}: {what}", index + 1));
        let line = line.map_err(|error| wrong(error.to_string()))?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(line).map_err(|error| {
            // serde counts lines within the line.
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            wrong(format!(
                "{reason}; write {{\"prompt\": \"text\"}} or {{\"token_ids\": [1, 2]}}"
            ))
        })?;
        prompts.push(match (line.prompt, line.token_ids, line.system) {
            (Some(prompt), None, system) => Prompt::Text(PromptText { system, prompt }),
            (None, Some(tokens), None) => Prompt::Tokens(tokens),
            (None, Some(_), Some(_)) => {
                return Err(wrong(
                    "token_ids are taken as they are, so system has no place; remove it".to_owned(),
                ));
            }
            (Some(_), Some(_), _) => {
                return Err(wrong(
                    "has prompt and token_ids; remove one of them".to_owned(),
                ));
            }
            (None, None, _) => {
                return Err(wrong(
                    "has neither prompt nor token_ids; write {\"prompt\": \"text\"} or {\"token_ids\": [1, 2]}"
                        .to_owned(),
                ));
            }
        });
    }
    Ok(prompts)
}
