//! `ragicamp show`: what an experiment asked, and what it got.

use super::{run::switch, words::whole};
use crate::{
    artifacts::ExperimentDir,
    diagnosis::printable_lines,
    domain::{Prediction, Question},
};
use clap::Args;
use serde::Serialize;
use std::{collections::BTreeMap, io::Write, path::PathBuf};

/// Show an experiment's questions with prompt, passages, answer and error.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:
  ragicamp show outputs/baseline/direct_hf_org_model_default_nq --failed
  ragicamp show outputs/baseline/direct_hf_org_model_default_nq --idx 17")]
pub struct ShowArgs {
    /// The experiment's directory
    #[arg(value_name = "EXPERIMENT_DIR")]
    pub directory: PathBuf,
    /// Only questions that have no answer
    #[arg(long, conflicts_with = "idx")]
    pub failed: bool,
    /// Only this question
    #[arg(long, value_name = "N", value_parser = whole)]
    pub idx: Option<usize>,
    /// Print JSON, a list of records
    #[arg(long, env = "RAGICAMP_JSON", value_parser = switch)]
    pub json: bool,
}

/// Prints the questions to `out` and gives the exit code: 2 when there is no
/// such experiment or question.
///
/// # Errors
/// When a file can not be read, or `out` takes no more.
pub fn run(args: &ShowArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let directory = ExperimentDir::new(&args.directory);
    if !directory.exists() {
        eprintln!(
            "error: {} is no experiment's directory: name one like outputs/STUDY/EXPERIMENT",
            args.directory.display()
        );
        return Ok(2);
    }
    let questions = directory
        .questions()?
        .map_or_else(Vec::new, |file| file.questions);
    let items = items(&directory, &questions)?;
    let chosen: Vec<&Item> = items
        .iter()
        .filter(|item| args.idx.is_none_or(|idx| item.idx == idx))
        .filter(|item| !args.failed || !item.is_answered())
        .collect();
    if let (Some(idx), true) = (args.idx, chosen.is_empty()) {
        let range = match (items.first(), items.last()) {
            (Some(first), Some(last)) => format!("its questions are {} to {}", first.idx, last.idx),
            _ => "it has no questions yet".to_owned(),
        };
        eprintln!(
            "error: {} has no question {idx}: {range}",
            args.directory.display()
        );
        return Ok(2);
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &chosen)?;
        writeln!(out)?;
    } else if chosen.is_empty() {
        writeln!(out, "Every question has an answer.")?;
    } else {
        for item in chosen {
            print(item, out)?;
        }
    }
    Ok(0)
}

/// A question with what came of it.
#[derive(Debug, Serialize)]
struct Item {
    idx: usize,
    question: String,
    expected: Vec<String>,
    /// `None` for a question that was not tried yet.
    record: Option<Prediction>,
}

impl Item {
    fn is_answered(&self) -> bool {
        self.record.as_ref().is_some_and(Prediction::is_answered)
    }
}

/// All questions by idx: those of the list, and those that only a record
/// tells of.
fn items(directory: &ExperimentDir, questions: &[Question]) -> anyhow::Result<Vec<Item>> {
    let mut items: BTreeMap<usize, Item> = questions
        .iter()
        .map(|question| {
            let item = Item {
                idx: question.idx,
                question: question.question.clone(),
                expected: question.expected.clone(),
                record: None,
            };
            (question.idx, item)
        })
        .collect();
    // What the metrics phase added is only in the rendered file; a torn one
    // costs the scores and nothing else.
    let rendered = directory
        .predictions()
        .ok()
        .flatten()
        .map(|file| file.best())
        .unwrap_or_default();
    let mut records = directory.records()?.best;
    for (idx, scored) in rendered {
        match records.get_mut(&idx) {
            Some(record) if record.prediction == scored.prediction => {
                record.metrics = scored.metrics;
            }
            Some(_) => {}
            None => {
                records.insert(idx, scored);
            }
        }
    }
    for (idx, record) in records {
        let item = items.entry(idx).or_insert_with(|| Item {
            idx,
            question: record.question.clone(),
            expected: record.expected.clone(),
            record: None,
        });
        item.record = Some(record);
    }
    Ok(items.into_values().collect())
}

/// What a model or a dataset wrote must not give the terminal orders.
fn print(item: &Item, out: &mut dyn Write) -> anyhow::Result<()> {
    let question = printable_lines(&item.question);
    writeln!(out, "Question {}: {question}", item.idx)?;
    let gold = if item.expected.is_empty() {
        "(none)".to_owned()
    } else {
        printable_lines(&item.expected.join(" | "))
    };
    match &item.record {
        None => {
            writeln!(out, "  Gold:    {gold}")?;
            writeln!(out, "  Answer:  (not tried yet)")?;
        }
        Some(record) => {
            if let Some(prompt) = &record.prompt {
                writeln!(out, "  Prompt:")?;
                for line in printable_lines(prompt).lines() {
                    writeln!(out, "    | {line}")?;
                }
            }
            if !record.retrieved.is_empty() {
                writeln!(out, "  Passages:")?;
                for (rank, hit) in record.retrieved.iter().enumerate() {
                    let id = printable_lines(&hit.id);
                    writeln!(out, "    {}. {id} (score {:.4})", rank + 1, hit.score)?;
                }
            }
            writeln!(out, "  Gold:    {gold}")?;
            writeln!(out, "  Answer:  {}", printable_lines(&record.prediction))?;
            if let Some(error) = &record.error {
                let class = record
                    .failure_class
                    .map(|class| format!("[{class}] "))
                    .unwrap_or_default();
                let error = printable_lines(error.trim_end());
                writeln!(out, "  Error:   {class}{error}")?;
            }
            for (metric, score) in &record.metrics {
                writeln!(out, "  {metric}: {score}")?;
            }
            writeln!(
                out,
                "  Attempt {}, batch of {}, {} tokens in, {} out, {} ms",
                record.attempt,
                record.batch_size,
                record.tokens_in,
                record.tokens_out,
                record.latency_ms
            )?;
        }
    }
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
