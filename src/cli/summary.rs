use super::{
    CliError,
    run::say,
    table::{print as print_table, table},
    words,
};
use crate::{
    artifacts::StudyDir, diagnosis::printable, domain::Phase, errortrace::dedupe_key,
    runner::RunReport, study::Study,
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, io::Write};

/// A larger study is better read in `results.csv`.
const ROWS_SHOWN: usize = 60;

/// What a run came to: scores, failures grouped by error, the next step.
pub fn print(
    study: &Study,
    report: &RunReport,
    dir: &StudyDir,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    scores(study, report, dir, out)?;
    failures(report, out)?;
    let seconds = report.seconds;
    say(
        out,
        &format!(
            "{}: {} complete, {} failed, {} left, of {}; {}, {seconds:.1} s",
            study.name,
            report.complete(),
            report.failed(),
            report.left(),
            report.selected,
            words::count(report.loads, "model load")
        ),
    )?;
    if let Some(failure) = &report.environment {
        say(out, &format!("stopped: {failure}"))?;
        if let Some(advice) = &failure.detail {
            say(out, advice)?;
        }
    }
    let path = dir.path().display();
    if report.failed() > 0 {
        say(out, &format!("next: ragicamp health {path} --show-failed"))?;
        say(out, &format!("      ragicamp resume {path}"))?;
    } else if report.left() > 0 {
        say(out, &format!("next: ragicamp resume {path}"))?;
    }
    Ok(())
}

fn scores(
    study: &Study,
    report: &RunReport,
    dir: &StudyDir,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let scored: Vec<_> = report
        .experiments
        .iter()
        .filter(|report| report.phase == Phase::Complete)
        .collect();
    let metrics = &study.settings.metrics;
    if scored.is_empty() || metrics.is_empty() {
        return Ok(());
    }
    let mut headers = vec!["experiment".to_owned()];
    headers.extend(metrics.iter().cloned());
    headers.push("n".to_owned());
    let mut rows = table(["experiment"]);
    rows.set_header(headers);
    for report in scored.iter().take(ROWS_SHOWN) {
        let results = dir.experiment(&report.name).results().ok().flatten();
        let scores = results.map(|results| results.metrics).unwrap_or_default();
        let mut row = vec![report.name.clone()];
        row.extend(metrics.iter().map(|metric| score(&scores, metric)));
        row.push(count(&scores));
        rows.add_row(row);
    }
    print_table(&rows, out)?;
    if scored.len() > ROWS_SHOWN {
        say(
            out,
            &format!(
                "... and {} more in {}",
                scored.len() - ROWS_SHOWN,
                dir.path().join("results.csv").display()
            ),
        )?;
    }
    say(
        out,
        "Scores are means over n questions, 0 to 1, higher is better; in brackets the 95 % \
         bootstrap interval: two experiments whose intervals overlap widely may not differ.\n",
    )
}

fn score(scores: &Map<String, Value>, metric: &str) -> String {
    let Some(mean) = scores.get(metric).and_then(Value::as_f64) else {
        return "-".to_owned();
    };
    match scores.get(&format!("{metric}_ci95")) {
        Some(Value::Array(bounds)) => {
            match bounds.iter().filter_map(Value::as_f64).collect::<Vec<_>>()[..] {
                [low, high] => format!("{mean:.3} [{low:.2}, {high:.2}]"),
                _ => format!("{mean:.3}"),
            }
        }
        _ => format!("{mean:.3}"),
    }
}

fn count(scores: &Map<String, Value>) -> String {
    scores
        .get("n_scored")
        .map_or_else(|| "-".to_owned(), Value::to_string)
}

fn failures(report: &RunReport, out: &mut dyn Write) -> Result<(), CliError> {
    // Numbers and paths aside, as `errors` and `health` group them.
    let mut groups: BTreeMap<(&str, String), (String, Vec<&str>)> = BTreeMap::new();
    for experiment in &report.experiments {
        if let Some(failure) = &experiment.failure {
            let first = failure.first_line();
            let key = (failure.class.as_str(), dedupe_key(None, first));
            let group = groups
                .entry(key)
                .or_insert_with(|| (format!("{first} ({})", failure.class), Vec::new()));
            group.1.push(&experiment.name);
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    say(out, "Failed:")?;
    for (error, names) in groups.into_values() {
        let times = if names.len() == 1 {
            String::new()
        } else {
            format!("{} x ", names.len())
        };
        say(out, &format!("  {times}{}", printable(&error, usize::MAX)))?;
        for name in names.iter().take(3) {
            say(out, &format!("      {name}"))?;
        }
        if names.len() > 3 {
            say(out, &format!("      and {} more", names.len() - 3))?;
        }
    }
    say(out, "")
}
