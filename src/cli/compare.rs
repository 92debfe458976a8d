//! `ragicamp compare`: experiments side by side, and whether they differ.

use super::{
    CliError, ExitStatus,
    experiments::{self, Stored},
    run::{artifact, say},
};
use crate::{
    analysis::{self, Axis, Measured, Table},
    domain::Phase,
    study::nearest,
};
use anyhow::anyhow;
use clap::{ArgGroup, Args};
use serde_json::json;
use std::{io::Write, path::PathBuf};

/// Compare a study's experiments.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").args(["group_by", "pivot", "baseline"]),
    group = ArgGroup::new("format").args(["json", "csv", "markdown"]),
    after_help = "\
Examples:
  ragicamp compare outputs/quickstart                        the ranking, best first
  ragicamp compare outputs/quickstart --metric exact_match --top 5
  ragicamp compare outputs/quickstart --group-by retriever   means over what has a retriever in common
  ragicamp compare outputs/quickstart --pivot model top_k
  ragicamp compare outputs/quickstart --baseline EXPERIMENT  who is better, and is it chance

Means stand with their 95 % bootstrap interval over questions. Only complete experiments
are compared. Against a baseline the questions that both have are paired: p is that of a
sign-flip permutation test, p_holm the same after Holm's correction for the number of
experiments; for metrics of right and wrong McNemar's exact test stands beside."
)]
pub struct CompareArgs {
    /// A study's directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The metric (default: f1 where there is one).
    #[arg(long, short)]
    metric: Option<String>,
    /// Means by model, dataset, prompt, retriever, quantization, top_k or type.
    #[arg(long, value_name = "AXIS")]
    group_by: Option<Axis>,
    /// Means at the crossings of two such axes.
    #[arg(long, num_args = 2, value_names = ["ROWS", "COLS"])]
    pivot: Option<Vec<Axis>>,
    /// Test every other experiment against this one.
    #[arg(long, value_name = "EXPERIMENT")]
    baseline: Option<String>,
    /// Only the first N lines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Resamples of the bootstrap and of the permutation test.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    resamples: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print CSV.
    #[arg(long)]
    csv: bool,
    /// Print a Markdown table.
    #[arg(long)]
    markdown: bool,
}

/// What is compared, before it is printed.
struct Comparison {
    table: Table,
    /// Said above the table.
    title: String,
    /// Said below it: what the numbers mean.
    note: &'static str,
    left_out: Vec<(String, String)>,
}

pub fn run(args: &CompareArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let stored = experiments::read(&args.directory)?;
    let metric = experiments::metric(&stored, args.metric.as_deref(), &args.directory)?;
    let (compared, left_out) = comparable(&stored, &metric);
    if compared.is_empty() {
        return Err(CliError::usage(anyhow!(
            "no experiment in {} is complete and has {metric}: `ragicamp health {}` says how they \
             stand",
            args.directory.display(),
            args.directory.display()
        )));
    }
    let mut comparison = match (&args.group_by, &args.pivot, &args.baseline) {
        (Some(axis), _, _) => Comparison {
            table: analysis::group_by(&measured(&compared, &metric)?, *axis, &metric),
            title: format!("{metric} by {}", axis.as_str()),
            note: INTERVALS,
            left_out,
        },
        (_, Some(axes), _) => {
            let [rows, columns] = axes[..] else {
                return Err(CliError::usage(anyhow!("--pivot takes two axes")));
            };
            Comparison {
                table: analysis::pivot(&measured(&compared, &metric)?, rows, columns, &metric),
                title: format!("{metric} by {} and {}", rows.as_str(), columns.as_str()),
                note: INTERVALS,
                left_out,
            }
        }
        (_, _, Some(name)) => baseline(args, &stored, &compared, name, &metric, left_out)?,
        _ => ranking(args, &compared, &metric, left_out),
    };
    if let Some(top) = args.top {
        comparison.table.rows.truncate(top as usize);
    }
    comparison.print(args, &metric, out)?;
    Ok(ExitStatus::OK)
}

const INTERVALS: &str = "\
Means over complete experiments; in brackets the 95 % bootstrap interval over questions.";

const TESTS: &str = "\
On the questions that both have: the difference with its 95 % bootstrap interval, p of the
permutation test, and p_holm, which is p for having looked at so many experiments. The verdict
is by p_holm < 0.05.";

/// Those that can be compared, and the others with the reason.
fn comparable<'s>(stored: &'s [Stored], metric: &str) -> (Vec<&'s Stored>, Vec<(String, String)>) {
    let mut left_out = Vec::new();
    let mut compared = Vec::new();
    for one in stored {
        let row = &one.row;
        if row.phase != Phase::Complete {
            let why = format!("it is {}, not complete", row.phase);
            left_out.push((row.name.clone(), why));
        } else if row.metric(metric).is_none() {
            left_out.push((row.name.clone(), format!("it has no {metric}")));
        } else {
            compared.push(one);
        }
    }
    (compared, left_out)
}

fn measured(compared: &[&Stored], metric: &str) -> Result<Vec<Measured>, CliError> {
    compared
        .iter()
        .map(|one| one.measured(metric).map_err(artifact))
        .collect()
}

fn ranking(
    args: &CompareArgs,
    compared: &[&Stored],
    metric: &str,
    left_out: Vec<(String, String)>,
) -> Comparison {
    let measured: Vec<Measured> = compared
        .iter()
        .map(|one| Measured {
            row: one.row.clone(),
            scores: Vec::new(),
        })
        .collect();
    let rows: Vec<_> = analysis::best(&measured, metric)
        .into_iter()
        .map(|one| one.row.clone())
        .collect();
    let mut table = analysis::summary(&rows, &[metric.to_owned()]);
    if !args.csv && !args.json {
        // The name says what it is; scripts get every column.
        table = table.columns(&["experiment", metric, "answered", "coverage"]);
    }
    Comparison {
        table,
        title: format!("{metric}, best first"),
        note: INTERVALS,
        left_out,
    }
}

fn baseline(
    args: &CompareArgs,
    stored: &[Stored],
    compared: &[&Stored],
    name: &str,
    metric: &str,
    mut left_out: Vec<(String, String)>,
) -> Result<Comparison, CliError> {
    let name = name.trim_end_matches('/');
    let name = name.rsplit('/').next().unwrap_or(name);
    let place = args.directory.display();
    if let Some((_, why)) = left_out.iter().find(|(left, _)| left == name) {
        return Err(CliError::usage(anyhow!(
            "{name} can not be the baseline: {why}"
        )));
    }
    let all = measured(compared, metric)?;
    let Some(baseline) = all.iter().find(|one| one.row.name == name) else {
        let names = stored.iter().map(|one| one.row.name.as_str());
        let meant = nearest(name, names).map_or_else(
            || format!("`ragicamp compare {place}` lists them"),
            |meant| format!("did you mean '{meant}'?"),
        );
        return Err(CliError::usage(anyhow!(
            "{place} has no experiment '{name}'; {meant}"
        )));
    };
    if baseline.scores.is_empty() {
        return Err(CliError::usage(anyhow!(
            "{name} keeps no {metric} per question: `ragicamp metrics {} -m {metric}` computes it",
            args.directory.join(name).display()
        )));
    }
    let others: Vec<&Measured> = all.iter().filter(|one| one.row.name != name).collect();
    // p is at least 1 / (resamples + 1), times the number of experiments.
    let needed = 20 * others.len();
    if (args.resamples as usize) < needed {
        eprintln!(
            "{} resamples are too few to show any difference among {} experiments: \
             --resamples {needed}",
            args.resamples,
            others.len()
        );
    }
    let against = analysis::against(baseline, &others, metric, args.resamples as usize);
    for unpaired in against.unpaired {
        left_out.push((unpaired, "it shares no scored question".to_owned()));
    }
    let mean = baseline.row.metric(metric).unwrap_or_default();
    let is_text = !args.json && !args.csv && !args.markdown;
    let table = match is_text {
        // What fits a terminal and can not be told from the rest.
        true => against.table.columns(&[
            "experiment",
            "questions",
            metric,
            "difference",
            "p_holm",
            "p_mcnemar_holm",
            "verdict",
        ]),
        false => against.table,
    };
    Ok(Comparison {
        table,
        title: format!("{metric} against {name} ({mean:.4})"),
        note: TESTS,
        left_out,
    })
}

impl Comparison {
    fn print(&self, args: &CompareArgs, metric: &str, out: &mut dyn Write) -> Result<(), CliError> {
        if args.json {
            let left_out: Vec<_> = self
                .left_out
                .iter()
                .map(|(name, why)| json!({"experiment": name, "reason": why}))
                .collect();
            let json = json!({
                "metric": metric,
                "baseline": args.baseline,
                "rows": self.table.to_json(),
                "left_out": left_out,
            });
            let text = serde_json::to_string_pretty(&json).map_err(anyhow::Error::from)?;
            return say(out, &text);
        }
        if args.csv {
            write!(out, "{}", self.table.to_csv())?;
        } else if args.markdown {
            write!(out, "{}", self.table.to_markdown())?;
        } else {
            say(out, &self.title)?;
            say(out, "")?;
            write!(out, "{}", self.table.to_text())?;
            say(out, "")?;
            say(out, self.note)?;
        }
        self.print_left_out();
        Ok(())
    }

    /// To standard error: tables may be piped.
    fn print_left_out(&self) {
        const NAMED: usize = 5;
        for (name, why) in self.left_out.iter().take(NAMED) {
            eprintln!("left out: {name}: {why}");
        }
        if self.left_out.len() > NAMED {
            eprintln!("left out: {} more", self.left_out.len() - NAMED);
        }
    }
}
