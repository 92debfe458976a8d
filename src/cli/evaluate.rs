//! `ragicamp evaluate`: scores for a file of predictions.

use super::{
    CliError, ExitStatus, metric_names,
    run::{artifact, say},
};
use crate::{
    analysis::{Cell, Table},
    artifacts::PredictionsFile,
    domain::Prediction,
    metrics::{self, Evaluation, is_judged},
};
use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};
use std::{io::Write, path::PathBuf};

/// Score a file of predictions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp evaluate outputs/quickstart/EXPERIMENT/predictions.json
  ragicamp evaluate predictions.jsonl --metrics exact_match,f1 --json

The file is a predictions.json of this program (of any version), a JSON list, or JSON lines;
each record has prediction, and its gold answers under expected, answers or golden_answers.
Records that are errors are counted and never scored.")]
pub struct EvaluateArgs {
    /// The predictions.
    file: PathBuf,
    /// The metrics, with commas between them.
    #[arg(long, short, value_delimiter = ',', default_value = "exact_match,f1")]
    metrics: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// With --json: the scores of every record too.
    #[arg(long, requires = "json")]
    items: bool,
}

pub fn run(args: &EvaluateArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let names = metric_names::checked(&args.metrics)?;
    if let Some(judged) = names.iter().find(|name| is_judged(name)) {
        return Err(CliError::usage(anyhow!(
            "the metric {judged} needs a study, which says who judges: \
             `ragicamp metrics OUTPUTS/STUDY -m {judged}`"
        )));
    }
    let file = PredictionsFile::load(&args.file).map_err(artifact)?;
    if file.unreadable > 0 {
        eprintln!(
            "passed over: {} records that are no objects",
            file.unreadable
        );
    }
    let experiment = file.experiment.clone();
    let predictions: Vec<Prediction> = file.best().into_values().collect();
    let place = args.file.display();
    if predictions
        .iter()
        .all(|one| one.prediction.is_empty() && !one.is_answered())
    {
        return Err(CliError::usage(anyhow!(
            "{place}: no record has a prediction; it belongs under the key prediction"
        )));
    }
    let needs_gold = |name: &String| !name.ends_with("_v2");
    if predictions.iter().all(|one| one.expected.is_empty()) && names.iter().any(needs_gold) {
        return Err(CliError::usage(anyhow!(
            "{place}: no record has gold answers; they belong under expected, answers or \
             golden_answers"
        )));
    }
    let evaluation = metrics::evaluate(&names, &predictions);
    if args.json {
        print_json(args, &experiment, &evaluation, predictions.len(), out)?;
    } else {
        print(&names, &evaluation, out)?;
    }
    Ok(ExitStatus::OK)
}

fn print_json(
    args: &EvaluateArgs,
    experiment: &str,
    evaluation: &Evaluation,
    predictions: usize,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let mut json = json!({
        "file": args.file.display().to_string(),
        "experiment": (!experiment.is_empty()).then_some(experiment),
        "num_predictions": predictions,
        "metrics": evaluation.computed,
        "aggregate_metrics": evaluation.aggregate,
    });
    if args.items {
        let items = evaluation.per_item.iter();
        json["items"] = items
            .map(|(idx, scores)| json!({"idx": idx, "metrics": scores}))
            .collect();
    }
    let text = serde_json::to_string_pretty(&json).map_err(anyhow::Error::from)?;
    say(out, &text)
}

fn print(names: &[String], evaluation: &Evaluation, out: &mut dyn Write) -> Result<(), CliError> {
    let aggregate = &evaluation.aggregate;
    let count = |key: &str| {
        aggregate
            .get(key)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let rows = names
        .iter()
        .map(|name| {
            let n = aggregate
                .get(&format!("{name}_n"))
                .and_then(Value::as_u64)
                .unwrap_or_else(|| count("n_scored"));
            vec![
                Cell::Text(name.clone()),
                Cell::estimate(aggregate, name),
                Cell::Count(n as usize),
            ]
        })
        .collect();
    let table = Table {
        headers: ["metric", "mean", "n"].map(str::to_owned).to_vec(),
        rows,
    };
    write!(out, "{}", table.to_text())?;
    let coverage = aggregate
        .get("coverage")
        .and_then(Value::as_f64)
        .unwrap_or_default();
    say(
        out,
        &format!(
            "\n{} scored, {} failed and not scored, {} without a gold answer; coverage {:.1} %; in \
             brackets the 95 % bootstrap interval",
            count("n_scored"),
            count("n_failed"),
            count("n_without_gold"),
            coverage * 100.0
        ),
    )
}
