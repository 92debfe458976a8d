use super::resources::Resources;
use crate::{
    artifacts::StudyDir,
    domain::{ExperimentSpec, ModelSpec, RunSettings, ScoringModel},
    study::Study,
};
use std::collections::BTreeMap;

/// Takes those metrics out of a study whose model can not be had, as if they
/// were known and not available: the others are computed. Gives a sentence for
/// each. A model is looked for where an experiment lacks its metric, and
/// downloaded if `may_fetch`; `tell` hears of that.
pub fn withhold_metrics(
    study: &mut Study,
    selected: &[ExperimentSpec],
    dir: &StudyDir,
    resources: &Resources,
    may_fetch: bool,
    tell: &mut dyn FnMut(&str),
) -> Vec<String> {
    let mut models: BTreeMap<ScoringModel, Option<String>> = BTreeMap::new();
    let mut withheld: BTreeMap<String, String> = BTreeMap::new();
    for spec in selected {
        let computed = match dir.experiment(&spec.name).state() {
            Ok(Some(state)) => state.metrics_computed,
            _ => Vec::new(),
        };
        for name in &study.settings_for(&spec.name).metrics {
            let Some(which) = ScoringModel::of(name) else {
                continue;
            };
            let applies = which != ScoringModel::Inference || spec.retriever.is_some();
            if !applies || computed.contains(name) || withheld.contains_key(name) {
                continue;
            }
            let why = models.entry(which).or_insert_with(|| {
                why_not_here(study.scoring.get(which), resources, may_fetch, tell)
            });
            if let Some(why) = why {
                withheld.insert(name.clone(), why.clone());
            }
        }
    }
    let all = std::iter::once(&mut study.settings).chain(study.overrides.values_mut());
    all.for_each(|settings: &mut RunSettings| {
        settings.metrics.retain(|name| !withheld.contains_key(name));
    });
    let sentences = withheld
        .iter()
        .map(|(name, why)| {
            format!(
                "the metric '{name}' is known but not available: {why}; it stays uncomputed, the \
                 others are computed"
            )
        })
        .collect();
    study.unavailable_metrics.extend(withheld);
    sentences
}

/// Why a scoring model can not be had; `None` when it is here, downloaded if
/// `may_fetch`.
pub fn why_not_here(
    model: &ModelSpec,
    resources: &Resources,
    may_fetch: bool,
    tell: &mut dyn FnMut(&str),
) -> Option<String> {
    if !cfg!(feature = "inference") {
        return Some("this program was built without the feature inference".to_owned());
    }
    if !may_fetch {
        return resources.why_missing(model);
    }
    let mut said = String::new();
    let had = resources.model(model, &mut |progress| {
        if let Some(progress) = progress
            && progress.file != said
        {
            said.clone_from(&progress.file);
            tell(&format!(
                "{model}: fetching {} ({} MB)",
                progress.file,
                progress.total / 1_000_000
            ));
        }
    });
    had.err()
}
