use super::{
    fields::{At, Fields},
    keys,
    yaml::Value,
};
use crate::domain::{BatchSize, GenerationSettings, RunSettings, Threshold};
use std::num::NonZeroU32;

/// What a study that says nothing gets. Metrics are filled in by the caller.
fn defaults() -> RunSettings {
    RunSettings {
        num_questions: None,
        batch_size: BatchSize::Fixed(8),
        min_batch_size: 1,
        max_consecutive_failures: NonZeroU32::new(5).map_or(Threshold::Never, Threshold::After),
        batch_timeout_s: 600.0,
        load_timeout_s: 1800.0,
        experiment_timeout_s: None,
        metrics: Vec::new(),
        skip_existing: true,
        save_intermediate: true,
    }
}

/// The settings of the top level.
pub(super) fn run_settings(study: &Fields<'_>) -> RunSettings {
    let mut settings = defaults();
    settings.num_questions = study.get("num_questions").and_then(|at| at.integer(1));
    if let Some(threshold) = study.get("max_consecutive_failures").and_then(threshold) {
        settings.max_consecutive_failures = threshold;
    }
    if let Some(seconds) = study.get("batch_timeout").and_then(|at| at.duration()) {
        settings.batch_timeout_s = seconds;
    }
    if let Some(seconds) = study.get("load_timeout").and_then(|at| at.duration()) {
        settings.load_timeout_s = seconds;
    }
    settings.experiment_timeout_s = study.get("experiment_timeout").and_then(|at| at.duration());
    if let Some(options) = study.get("options").and_then(|at| at.fields(keys::OPTIONS)) {
        if let Some(skip) = options.get("skip_existing").and_then(|at| at.boolean()) {
            settings.skip_existing = skip;
        }
        if let Some(save) = options.get("save_intermediate").and_then(|at| at.boolean()) {
            settings.save_intermediate = save;
        }
    }
    batch_sizes(study, &mut settings);
    settings
}

/// `batch_size` and `min_batch_size`, of the study or of one cell.
pub(super) fn batch_sizes(fields: &Fields<'_>, settings: &mut RunSettings) {
    let mut is_known = true;
    if let Some(at) = fields.get("batch_size") {
        match batch_size(at) {
            Some(size) => settings.batch_size = size,
            None => is_known = false,
        }
    }
    let min = fields.get("min_batch_size");
    if let Some(size) = min.as_ref().and_then(|at| at.integer(1)) {
        settings.min_batch_size = size;
    }
    if let BatchSize::Fixed(size) = settings.batch_size {
        // Against a size that was not read nothing can be said.
        if let Some(at) = min.filter(|_| is_known && size < settings.min_batch_size) {
            at.error(
                format!(
                    "{} is more than the batch_size {size}",
                    settings.min_batch_size
                ),
                Some(format!("the most is {size}")),
            );
        }
        settings.min_batch_size = settings.min_batch_size.min(size);
    }
}

fn batch_size(at: At<'_>) -> Option<BatchSize> {
    match &at.node.value {
        Value::Text(text) if text == "auto" => Some(BatchSize::Auto),
        Value::Text(_) => {
            at.expected("a whole number or auto", None);
            None
        }
        _ => at.integer(1).map(BatchSize::Fixed),
    }
}

fn threshold(at: At<'_>) -> Option<Threshold> {
    match &at.node.value {
        Value::Text(text) if text == "never" => Some(Threshold::Never),
        Value::Text(_) => {
            at.expected("a whole number or never", None);
            None
        }
        _ => {
            let number = u32::try_from(at.integer(1)?).unwrap_or(u32::MAX);
            NonZeroU32::new(number).map(Threshold::After)
        }
    }
}

/// The settings under `at`, over those of `base`.
pub(super) fn generation(at: Option<At<'_>>, base: &GenerationSettings) -> GenerationSettings {
    let mut settings = base.clone();
    let Some(fields) = at.and_then(|at| at.fields(keys::GENERATION)) else {
        return settings;
    };
    let tokens = fields.either(&["max_new_tokens", "max_tokens"]);
    if let Some(tokens) = tokens.and_then(|at| at.integer(1)) {
        settings.max_new_tokens = tokens;
    }
    if let Some(temperature) = fields
        .get("temperature")
        .and_then(|at| at.number(0.0, 100.0))
    {
        settings.temperature = temperature;
    }
    if let Some(top_p) = fields.get("top_p").and_then(|at| {
        let mass = at.number(0.0, 1.0)?;
        if mass == 0.0 {
            at.error(
                "a nucleus of 0 holds no token",
                Some("write temperature: 0 for greedy decoding".to_owned()),
            );
        }
        (mass > 0.0).then_some(mass)
    }) {
        settings.top_p = Some(top_p);
    }
    if let Some(seed) = fields.get("seed").and_then(|at| at.integer(0)) {
        settings.seed = seed as u64;
    }
    if let Some(stop) = fields.get("stop") {
        settings.stop = stop.one_or_many().iter().filter_map(stop_text).collect();
    }
    settings
}

/// A stop text may be a line break, which is blank but not empty.
fn stop_text(at: &At<'_>) -> Option<String> {
    match &at.node.value {
        Value::Text(text) if !text.is_empty() => Some(text.clone()),
        _ => at.text().map(str::to_owned),
    }
}
