//! `ragicamp evaluate`: scores for a file of predictions.

use super::{
    CliError, ExitStatus,
    cache_dir::CacheDir,
    encoders, metric_names,
    run::{artifact, say},
    words::positive,
};
use crate::{
    analysis::{Cell, Table},
    artifacts::PredictionsFile,
    datasets::supporting_ids,
    domain::{Prediction, ScoringModel, ScoringModels, TokenModel, inference_model},
    metrics::{self, Evaluation, Evidence, GivenScores, is_judged},
    runner::{Answer, MetricModels, Resources, why_not_here},
};
use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Write, num::NonZeroUsize, path::PathBuf};

/// Score a file of predictions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp evaluate outputs/quickstart/EXPERIMENT/predictions.json
  ragicamp evaluate predictions.jsonl --metrics exact_match,f1 --json
  ragicamp evaluate predictions.jsonl --metrics bertscore --bertscore-model roberta-base

The file is a predictions.json of this program (of any version), a JSON list, or JSON lines;
each record has prediction, and its gold answers under expected, answers or golden_answers.
Metrics that look at the passages an answer was made of want their texts, a list under
passages or contexts; those of retrieval want retrieved, a list of {id}, and supporting, the
ids of the passages that hold the answer. Records that are errors are counted and never scored.")]
pub struct EvaluateArgs {
    /// The predictions.
    file: PathBuf,
    /// The metrics, with commas between them.
    #[arg(long, short, value_delimiter = ',', default_value = "exact_match,f1")]
    metrics: Vec<String>,
    /// The encoder whose tokens bertscore compares (default: roberta-large).
    #[arg(long, value_name = "MODEL")]
    bertscore_model: Option<String>,
    /// The layer whose vectors it compares (default: what bert-score takes).
    #[arg(long, value_name = "N", value_parser = positive)]
    bertscore_layer: Option<NonZeroUsize>,
    /// The model that faithfulness and hallucination ask (default: minilm).
    #[arg(long, value_name = "MODEL")]
    nli_model: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// With --json: the scores of every record too.
    #[arg(long, requires = "json")]
    items: bool,
    // Last: what follows would stand under its heading.
    #[command(flatten)]
    cache: CacheDir,
}

pub fn run(args: &EvaluateArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let names = metric_names::checked(&args.metrics)?;
    if let Some(judged) = names.iter().find(|name| is_judged(name)) {
        return Err(CliError::usage(anyhow!(
            "the metric {judged} needs a study, which says who judges: \
             `ragicamp metrics OUTPUTS/STUDY -m {judged}`"
        )));
    }
    if args.file.is_dir() {
        let place = args.file.display();
        let inside = args.file.join("predictions.json");
        return Err(CliError::usage(match inside.is_file() {
            true => anyhow!(
                "{place} is a directory: name the file in it, {}",
                inside.display()
            ),
            false => anyhow!(
                "{place} is a directory without a predictions.json: name a file, as \
                 outputs/STUDY/EXPERIMENT/predictions.json"
            ),
        }));
    }
    let file = PredictionsFile::load(&args.file).map_err(artifact)?;
    if file.unreadable > 0 {
        eprintln!(
            "passed over: {} records that are no objects",
            file.unreadable
        );
    }
    let experiment = file.experiment.clone();
    let records = file.predictions.len();
    let searched = file.searched.clone();
    let predictions: Vec<Prediction> = file.best().into_values().collect();
    if predictions.len() < records {
        eprintln!(
            "{} of {records} records have the idx of another one: the first that is answered counts",
            records - predictions.len()
        );
    }
    let place = args.file.display();
    if predictions
        .iter()
        .all(|one| one.prediction.is_empty() && !one.is_answered())
    {
        return Err(CliError::usage(anyhow!(
            "{place}: no record has a prediction; it belongs under the key prediction"
        )));
    }
    let is_borne_out = |name: &String| ScoringModel::of(name) == Some(ScoringModel::Inference);
    let needs_gold = |name: &String| !name.ends_with("_v2") && !is_borne_out(name);
    if predictions.iter().all(|one| one.expected.is_empty()) && names.iter().any(needs_gold) {
        return Err(CliError::usage(anyhow!(
            "{place}: no record has gold answers; they belong under expected, answers or \
             golden_answers"
        )));
    }
    let passages: BTreeMap<usize, Vec<&str>> = predictions
        .iter()
        .filter_map(|one| Some((one.idx, passages_of(one)?)))
        .collect();
    let reads_texts = |name: &String| is_borne_out(name) || OF_TEXTS.contains(&name.as_str());
    if passages.is_empty()
        && let Some(name) = names.iter().find(|name| reads_texts(name))
    {
        return Err(CliError::usage(anyhow!(
            "{place}: no record has the passages that {name} looks at; their texts belong under \
             passages or contexts"
        )));
    }
    let supporting: BTreeMap<usize, Vec<String>> = predictions
        .iter()
        .filter_map(|one| Some((one.idx, supporting_of(one)?)))
        .collect();
    if let Some(name) = names.iter().find(|name| is_of_retrieval(name)) {
        if supporting.is_empty() {
            return Err(CliError::usage(anyhow!(
                "{place}: no record says which passages hold its answer, which {name} looks at; \
                 their ids belong under supporting"
            )));
        }
        if predictions.iter().all(|one| one.retrieved.is_empty()) {
            return Err(CliError::usage(anyhow!(
                "{place}: no record says what was retrieved, which {name} looks at; a list of \
                 {{\"id\": ...}} belongs under retrieved"
            )));
        }
    }
    let given = given(args, &names, &predictions, &passages)?;
    let evaluation = metrics::evaluate_with(&names, &predictions, &|prediction| Evidence {
        supporting: supporting.get(&prediction.idx).map_or(&[], Vec::as_slice),
        passages: passages.get(&prediction.idx).cloned().or_else(|| {
            let nothing = searched.contains(&prediction.idx) && has_found_nothing(prediction);
            nothing.then(Vec::new)
        }),
        given: given.get(&prediction.idx),
    });
    for (name, why) in &evaluation.uncomputed {
        eprintln!("{name} is not computed: {why}");
    }
    if args.json {
        print_json(args, &experiment, &evaluation, predictions.len(), out)?;
    } else {
        print(&names, &evaluation, out)?;
    }
    Ok(ExitStatus(u8::from(!evaluation.uncomputed.is_empty())))
}

/// Metrics that look at the texts of passages, beside those of models.
const OF_TEXTS: [&str; 2] = ["answer_in_context", "context_recall"];

/// Whether a metric looks at the ids of what was retrieved.
fn is_of_retrieval(name: &str) -> bool {
    let stem = name.split('@').next().unwrap_or(name);
    metrics::reads_passages(name) && ["recall", "hit", "mrr", "ndcg"].contains(&stem)
}

/// The ids of the passages that hold a record's answer.
fn supporting_of(record: &Prediction) -> Option<Vec<String>> {
    let ids = supporting_ids(record.extra.get("supporting")?);
    (!ids.is_empty()).then_some(ids)
}

/// Whether a record that says what was retrieved says that it was nothing,
/// though something was searched for: an agent's steps tell when it was not.
fn has_found_nothing(record: &Prediction) -> bool {
    let steps = record.extra.get("steps").and_then(Value::as_array);
    let has_searched = |steps: &Vec<Value>| steps.iter().any(|step| step["kind"] == "retrieve");
    record.retrieved.is_empty() && steps.is_none_or(has_searched)
}

/// The texts of the passages that a record's answer was made of.
fn passages_of(record: &Prediction) -> Option<Vec<&str>> {
    let listed = ["passages", "contexts"]
        .iter()
        .find_map(|key| record.extra.get(*key)?.as_array())?;
    Some(listed.iter().filter_map(text_of).collect())
}

fn text_of(passage: &Value) -> Option<&str> {
    match passage {
        Value::Object(passage) => passage.get("text")?.as_str(),
        other => other.as_str(),
    }
}

/// What models say of the answers; each is loaded where a metric needs it.
fn given(
    args: &EvaluateArgs,
    names: &[String],
    predictions: &[Prediction],
    passages: &BTreeMap<usize, Vec<&str>>,
) -> Result<BTreeMap<usize, GivenScores>, CliError> {
    let models = scoring_models(args)?;
    let bases: Vec<PathBuf> = std::env::current_dir().into_iter().collect();
    let resources = Resources::new(bases.clone());
    let of_models: Vec<(&String, ScoringModel)> = names
        .iter()
        .filter_map(|name| Some((name, ScoringModel::of(name)?)))
        .collect();
    if of_models.is_empty() {
        return Ok(BTreeMap::new());
    }
    for (name, which) in of_models {
        let model = models.get(which);
        if let Some(why) =
            why_not_here(model, &resources, true, &mut |remark| eprintln!("{remark}"))
        {
            return Err(CliError::usage(anyhow!(
                "the metric {name} is not computed: {why}"
            )));
        }
    }
    let answered = predictions.iter().filter(|one| one.is_answered());
    let answers: Vec<Answer<'_>> = answered
        .map(|one| Answer {
            idx: one.idx,
            question: &one.question,
            text: &one.prediction,
            expected: &one.expected,
            passages: passages.get(&one.idx).cloned(),
        })
        .collect();
    let encoders = encoders::at(&args.cache, "auto", bases)?;
    Ok(MetricModels::new(models, encoders).scores(names, &answers, &mut || true))
}

/// The models that were named, and the usual ones for the others.
fn scoring_models(args: &EvaluateArgs) -> Result<ScoringModels, CliError> {
    let mut models = ScoringModels::default();
    let wrong = |flag: &str, why: String| CliError::usage(anyhow!("{flag}: {why}"));
    if let Some(name) = &args.bertscore_model {
        models.tokens = TokenModel::new(name, args.bertscore_layer.map(NonZeroUsize::get))
            .map_err(|why| wrong("--bertscore-model", why))?;
    } else if let Some(layer) = args.bertscore_layer {
        models.tokens.layer = layer.get();
    }
    if let Some(name) = &args.nli_model {
        models.inference = inference_model(name).map_err(|why| wrong("--nli-model", why))?;
    }
    Ok(models)
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
