//! Metrics, the judge, and the models of metrics.

use super::{
    entries::{self, availability, suggestions},
    fields::{At, shorten},
    keys, paths,
    reader::Reader,
    study_file::LlmJudge,
    yaml,
};
use crate::domain::{Provider, ScoringModel, ScoringModels, TokenModel, inference_model};
use std::collections::BTreeMap;

impl Reader<'_> {
    /// Metrics that can be computed, and those that can not.
    pub(super) fn metrics(
        &self,
        at: Option<At<'_>>,
        judge: Option<&LlmJudge>,
    ) -> (Vec<String>, BTreeMap<String, String>) {
        let Some(at) = at else {
            return (
                vec!["exact_match".to_owned(), "f1".to_owned()],
                BTreeMap::new(),
            );
        };
        let (mut metrics, mut unavailable) = (Vec::new(), BTreeMap::new());
        let list = at.list();
        // What is no list has been told.
        if list.as_ref().is_some_and(Vec::is_empty) {
            at.error(
                "there is no metric",
                Some("remove the key for exact_match and f1".to_owned()),
            );
        }
        for at in list.unwrap_or_default() {
            if let yaml::Value::Map(_) = at.node.value {
                at.expected("a name", Some(metric_settings_fix(&at)));
                continue;
            }
            let Some(text) = at.text() else { continue };
            let known = &self.names.metrics;
            match availability(
                &at,
                "metric",
                text,
                known,
                "it stays uncomputed, the others are computed",
            ) {
                Ok(None) if metrics.iter().any(|metric| metric == text) => {
                    at.warning(format!("'{text}' is listed twice"), None);
                }
                Ok(None) => match lacks_judge(text, judge) {
                    None => metrics.push(text.to_owned()),
                    Some(reason) => {
                        at.warning(
                            format!("{reason}; it stays uncomputed, the others are computed"),
                            None,
                        );
                        unavailable.insert(text.to_owned(), reason);
                    }
                },
                Ok(Some(reason)) => {
                    unavailable.insert(text.to_owned(), reason);
                }
                Err(()) => at.unknown("metric", &suggestions(known)),
            }
        }
        (metrics, unavailable)
    }

    pub(super) fn judge(&self, at: &At<'_>) -> Option<LlmJudge> {
        let fields = at.fields(keys::JUDGE)?;
        let judgment_type = match fields.either(&["judgment_type", "type"]) {
            Some(at) => at.choice(&[("binary", "binary"), ("ternary", "ternary")])?,
            None => "binary",
        };
        let model = fields.required("model", "it names the judging model")?;
        Some(LlmJudge {
            model: entries::model(&model, self.names)?.value,
            judgment_type: judgment_type.to_owned(),
            concurrency: fields
                .get("concurrency")
                .and_then(|at| at.integer(1))
                .unwrap_or(8),
        })
    }

    /// The models of metrics, the usual ones where none is named.
    pub(super) fn scoring_models(&self) -> ScoringModels {
        let mut models = ScoringModels::default();
        let section = |name, table| self.fields.get(name).and_then(|at| at.fields(table));
        if let Some(fields) = section("bertscore", keys::BERTSCORE) {
            let layer = fields.get("layer").and_then(|at| at.integer(1));
            let named = fields.get("model");
            let name = named.as_ref().and_then(|at| self.path_of(at));
            match (&named, name.map(|name| TokenModel::new(&name, layer))) {
                (Some(at), Some(Ok(tokens))) => {
                    paths::remember_encoder(at, Ok(tokens.model.clone()));
                    models.tokens = tokens;
                }
                (Some(at), Some(Err(why))) => at.error(why, None),
                (None, _) => models.tokens.layer = layer.unwrap_or(models.tokens.layer),
                // A name that is no text has been told.
                (Some(_), None) => {}
            }
        }
        let named = section("nli", keys::NLI).and_then(|fields| fields.get("model"));
        if let Some(at) = named
            && let Some(name) = self.path_of(&at)
        {
            match inference_model(&name) {
                Ok(model) => {
                    paths::remember_encoder(&at, Ok(model.clone()));
                    models.inference = model;
                }
                Err(why) => at.error(why, None),
            }
        }
        models
    }
}

/// Where the settings of a metric that is written as a mapping belong.
fn metric_settings_fix(at: &At<'_>) -> String {
    let yaml::Value::Map(entries) = &at.node.value else {
        return String::new();
    };
    let name = entries.iter().find_map(|entry| match &entry.node.value {
        yaml::Value::Text(text) if entry.key == "name" => Some(text.as_str()),
        _ => None,
    });
    let name = name.or_else(|| entries.first().map(|entry| entry.key.as_str()));
    let name = shorten(name.unwrap_or("f1"));
    let key = match ScoringModel::of(&name) {
        Some(ScoringModel::Tokens) => Some("bertscore"),
        Some(ScoringModel::Inference) => Some("nli"),
        None if name.starts_with("llm_judge") => Some("llm_judge"),
        None => None,
    };
    match key {
        Some(key) => format!("write {name} alone, and its model under the top-level key {key}:"),
        None => format!("write {name} alone: it has no settings"),
    }
}

/// Why a metric that is a judge's verdict can not be computed in this study,
/// if so.
fn lacks_judge(metric: &str, judge: Option<&LlmJudge>) -> Option<String> {
    if !metric.starts_with("llm_judge") {
        return None;
    }
    match judge {
        None => Some(format!(
            "nobody is there to judge for {metric}: write llm_judge: {{model: 'openai:NAME'}}"
        )),
        Some(judge) if judge.model.provider != Provider::Openai => Some(format!(
            "{} can not judge for {metric}: judges are asked through a server, as openai:NAME \
             with base_url",
            judge.model
        )),
        Some(_) => None,
    }
}
