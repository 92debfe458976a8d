use super::{
    CliError,
    run::{How, say},
    words::count,
};
use crate::{
    domain::{ExperimentSpec, ModelSpec, Provider, Quantization},
    hub,
    runner::{Action, Plan, PlannedExperiment},
    study::Study,
};
use comfy_table::{ContentArrangement, Table, presets};
use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    path::Path,
};

/// A table with rules on a terminal and plain text when piped. Names are never
/// broken: they are there to be copied.
pub fn table<const N: usize>(headers: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headers);
    if std::io::stdout().is_terminal() {
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    }
    table
}

/// Prints a table without blanks at the ends of lines.
pub fn print(table: &Table, out: &mut dyn Write) -> Result<(), CliError> {
    for line in table.lines() {
        say(out, line.trim_end())?;
    }
    Ok(())
}

/// What `--dry-run` shows.
pub fn print_plan(
    study: &Study,
    selected: &[ExperimentSpec],
    plan: &Plan,
    output: &Path,
    how: &How,
) -> Result<(), CliError> {
    let out = &mut std::io::stdout().lock();
    if how.json {
        for planned in &plan.experiments {
            let line = serde_json::to_string(planned).map_err(anyhow::Error::from)?;
            say(out, &line)?;
        }
        return Ok(());
    }
    let mut rows = table(["experiment", "what", "answered"]);
    for planned in &plan.experiments {
        rows.add_row([planned.name.clone(), what(planned), progress(planned)]);
    }
    print(&rows, out)?;
    say(out, "")?;
    let mut models = table(["model", "quantization", "experiments", "memory"]);
    for ((model, quantization), count) in per_model(selected) {
        models.add_row([
            model.to_string(),
            quantization.to_string(),
            count.to_string(),
            memory(model, quantization),
        ]);
    }
    print(&models, out)?;
    say(out, "")?;
    let uncounted = match plan.uncounted {
        0 => String::new(),
        1 => ", and those of 1 experiment whose dataset is not here".to_owned(),
        more => format!(", and those of {more} experiments whose dataset is not here"),
    };
    say(
        out,
        &format!(
            "{}: {} in {}; {} to run, {}, {} to answer{uncounted}",
            study.name,
            count(plan.experiments.len(), "experiment"),
            output.display(),
            plan.experiments
                .iter()
                .filter(|planned| planned.action.generates())
                .count(),
            count(plan.model_loads, "model load"),
            count(plan.inferences, "question")
        ),
    )?;
    if let Some(search) = &study.search {
        say(
            out,
            &format!(
                "{} of these {} cells are tried, chosen by {} while the study runs; the counts \
                 above are those of all",
                search.number.min(search.cells.len()),
                search.cells.len(),
                search.metric
            ),
        )?;
    }
    for (name, differences) in plan.changed() {
        say(out, &format!("changed: {name}: {}", differences.join("; ")))?;
    }
    Ok(())
}

/// Says that experiments have more answers than the study asks for now: none
/// is ever taken away.
pub fn more_than_asked(study: &Study, plan: &Plan) -> Option<String> {
    let has_more = |planned: &&PlannedExperiment| {
        let asked = study.settings_for(&planned.name).num_questions;
        matches!(planned.action, Action::Complete | Action::Score)
            && asked.is_some_and(|asked| planned.answered > asked)
    };
    let (has, its) = match plan.experiments.iter().filter(has_more).count() {
        0 => return None,
        1 => ("1 experiment has", "it keeps"),
        more => (&*format!("{more} experiments have"), "they keep"),
    };
    Some(format!(
        "{has} more answers than num_questions asks for now; {its} all of them, and the scores are \
         over all"
    ))
}

/// Says whose results stay although their dataset says otherwise now.
pub fn outdated(plan: &Plan) -> Vec<String> {
    let mut whose: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for planned in &plan.experiments {
        if let Some(why) = &planned.outdated {
            whose.entry(why).or_default().push(&planned.name);
        }
    }
    let sentence = |(why, names): (&str, Vec<&str>)| match names.as_slice() {
        [name] => format!("{name} is complete and keeps its results: {why}"),
        names => format!(
            "{} experiments are complete and keep their results: {why}",
            names.len()
        ),
    };
    whose.into_iter().map(sentence).collect()
}

fn what(planned: &PlannedExperiment) -> String {
    let word = planned.action.word();
    match &planned.action {
        Action::Retry { error } => format!("{word} ({error})"),
        Action::Owned { by } => format!("{word} ({by})"),
        Action::Damaged { reason } | Action::Unavailable { reason } => format!("{word}: {reason}"),
        _ => word.to_owned(),
    }
}

fn progress(planned: &PlannedExperiment) -> String {
    match planned.total {
        Some(total) => format!("{}/{total}", planned.answered),
        None => format!("{}/?", planned.answered),
    }
}

fn per_model(selected: &[ExperimentSpec]) -> BTreeMap<(&ModelSpec, Quantization), usize> {
    let mut counts = BTreeMap::new();
    for spec in selected {
        *counts.entry((&spec.model, spec.quantization)).or_default() += 1;
    }
    counts
}

/// What a model's weights need, and whether they fit this machine.
fn memory(model: &ModelSpec, quantization: Quantization) -> String {
    if matches!(model.provider, Provider::Openai | Provider::Vllm) {
        return "remote".to_owned();
    }
    let Some(bytes) = hub::weights_bytes(model) else {
        return "not here; `ragicamp fetch` says what is missing".to_owned();
    };
    let needed = match model.provider {
        Provider::Gguf => crate::runner::gguf_in_memory(bytes),
        _ => crate::runner::weights_in_memory(bytes, quantization),
    };
    let megabytes = needed.div_ceil(1_000_000);
    match crate::runner::device_memory() {
        Some(available) if needed > available => {
            format!(
                "{megabytes} MB; will not fit in {} MB",
                available / 1_000_000
            )
        }
        _ => format!("{megabytes} MB"),
    }
}
