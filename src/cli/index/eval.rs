use super::{
    Where,
    found::{Finding, Found},
    read, wrong,
};
use crate::{
    cli::{CliError, ExitStatus, run::say, words::count},
    index::Query,
    retrieval::{Judgements, document_of},
};
use anyhow::anyhow;
use clap::Args;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Instant};

/// Documents that are judged.
const DEPTH: usize = 10;
/// Chunks that are fetched for them: several may be of one document.
const FETCHED: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
Queries are JSON lines with _id and text; qrels are lines of query-id, corpus-id and score,
separated by tabs. A chunk counts as its document. Means are over the queries that have a relevant
document.")]
pub struct EvalArgs {
    /// A retriever's name, or the beginning of a directory's name.
    name: String,
    /// The queries.
    #[arg(long, value_name = "Q.jsonl")]
    queries: PathBuf,
    /// Which documents are relevant to which query.
    #[arg(long, value_name = "Q.tsv")]
    qrels: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    finding: Finding,
    #[command(flatten)]
    place: Where,
}

pub fn run(args: &EvalArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let judgements = Judgements::parse(&read(&args.qrels)?).map_err(|(line, message)| {
        CliError::usage(anyhow!("{}:{line}: {message}", args.qrels.display()))
    })?;
    let mut queries = queries(args)?;
    queries.retain(|(id, _)| judgements.judges(id));
    if queries.is_empty() {
        return Err(CliError::usage(anyhow!(
            "no query of {} has a relevant document in {}; are they of one dataset?",
            args.queries.display(),
            args.qrels.display()
        )));
    }
    let texts: Vec<Query<'_>> = queries.iter().map(|(_, text)| Query::plain(text)).collect();
    let started = Instant::now();
    let found = args
        .finding
        .find(&args.name, &texts, DEPTH, FETCHED, &args.place)?;
    let seconds = started.elapsed().as_secs_f64();
    let are_chunks = found.index.has_chunks().map_err(wrong)?;
    check_ids(args, &judgements, &queries, &found, are_chunks)?;
    let rankings: BTreeMap<String, Vec<String>> = queries
        .iter()
        .zip(&found.rankings)
        .map(|((id, _), ranking)| (id.clone(), found.ids(ranking, FETCHED)))
        .collect();
    let scores = judgements.scores(&rankings, are_chunks);
    let mut report = Map::new();
    report.insert("index".to_owned(), args.name.clone().into());
    if args.json {
        let directories = found.index.directories();
        report.insert("directories".to_owned(), directories.into());
    }
    if let Ok(Value::Object(scores)) = serde_json::to_value(&scores) {
        report.extend(scores);
    }
    report.insert("seconds".to_owned(), seconds.into());
    if args.json {
        say(out, &format!("{:#}", Value::Object(report)))?;
        return Ok(ExitStatus::OK);
    }
    for (key, value) in report {
        let value = match value {
            Value::String(text) => text,
            Value::Number(number) if number.is_f64() => {
                format!("{:.4}", number.as_f64().unwrap_or_default())
            }
            other => other.to_string(),
        };
        say(out, &format!("{key:<10} {value}"))?;
    }
    Ok(ExitStatus::OK)
}

/// What is judged has to be in the index: ids of another corpus would make
/// every score 0.
fn check_ids(
    args: &EvalArgs,
    judgements: &Judgements,
    queries: &[(String, String)],
    found: &Found,
    are_chunks: bool,
) -> Result<(), CliError> {
    let mut missing = judgements.documents(queries.iter().map(|(id, _)| id.as_str()));
    let judged = missing.len();
    let mut an_id = None;
    found
        .index
        .ids(&mut |id| {
            missing.remove(id);
            if are_chunks {
                missing.remove(document_of(id));
            }
            an_id.get_or_insert_with(|| id.to_owned());
        })
        .map_err(wrong)?;
    let qrels = args.qrels.display();
    match missing.len() {
        0 => {}
        all if all == judged => {
            return Err(CliError::usage(anyhow!(
                "{qrels}: none of its {} is in the index {}, whose ids are like '{}'; name the \
                 index of their corpus, or correct the ids",
                count(judged, "relevant document"),
                args.name,
                an_id.unwrap_or_default()
            )));
        }
        some => eprintln!(
            "warning: {qrels}: {some} of {} are not in the index {} and count as not found",
            count(judged, "relevant document"),
            args.name
        ),
    }
    Ok(())
}

/// Ids and texts.
fn queries(args: &EvalArgs) -> Result<Vec<(String, String)>, CliError> {
    let mut queries = Vec::new();
    for (number, line) in read(&args.queries)?.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let malformed = |what: &str| {
            CliError::usage(anyhow!("{}:{}: {what}", args.queries.display(), number + 1))
        };
        let object: Map<String, Value> =
            serde_json::from_str(line).map_err(|_| malformed("not a JSON object"))?;
        let field = |names: &[&str]| {
            names.iter().find_map(|name| match object.get(*name) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            })
        };
        let id = field(&["_id", "id", "query-id"]).ok_or_else(|| malformed("it has no _id"))?;
        let text = field(&["text", "query", "question"]);
        queries.push((id, text.ok_or_else(|| malformed("it has no text"))?));
    }
    Ok(queries)
}
