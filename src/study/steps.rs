//! What stands between a question and its answer beside the retriever:
//! rerankers, query transforms and agents.

use super::{
    catalog::{Availability, Names},
    entries::{CELLS_FAIL, Choice, availability, suggestions},
    fields::{At, Fields},
    keys, paths,
    retriever::Options,
    yaml::Value,
};
use crate::domain::{AgentKind, reranking_model};
use serde_json::json;

/// A reranker, in the options of a cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reranker {
    pub name: String,
    pub model: String,
}

/// The values of `reranker`: names, mappings, or a mapping with `configs`.
/// `None` in the list means no reranker.
pub(super) fn rerankers(at: &At<'_>, names: &Names<'_>) -> Vec<Choice<Option<Reranker>>> {
    let entries = at.one_or_many();
    entries
        .iter()
        .flat_map(|at| {
            if let Value::Map(entries) = &at.node.value
                && entries.iter().any(|entry| entry.key == "configs")
            {
                let configs = at
                    .fields(keys::RERANKER)
                    .and_then(|fields| fields.get("configs"));
                let configs = configs.and_then(|at| at.list()).unwrap_or_default();
                configs
                    .iter()
                    .filter_map(|at| reranker(at, names))
                    .collect()
            } else {
                Vec::from_iter(reranker(at, names))
            }
        })
        .collect()
}

/// One reranker.
pub(super) fn reranker(at: &At<'_>, names: &Names<'_>) -> Option<Choice<Option<Reranker>>> {
    let (name, model, model_at) = if let Value::Map(_) = &at.node.value {
        let fields = at.fields(keys::RERANKER)?;
        let enabled = fields
            .get("enabled")
            .is_none_or(|at| at.boolean().unwrap_or(true));
        if !enabled {
            return Some(Choice::new(None, at));
        }
        let name = fields.get("name").and_then(|at| at.text());
        let model_at = fields.get("model");
        let model = match &model_at {
            Some(at) => Some(paths::expand(at, at.text()?, names)?),
            None => None,
        };
        let Some(either) = model.or_else(|| name.map(str::to_owned)) else {
            at.error(
                "the reranker has no model",
                Some("write model: bge".to_owned()),
            );
            return None;
        };
        let at = model_at
            .or_else(|| fields.get("name"))
            .unwrap_or_else(|| at.clone());
        (name.unwrap_or(&either).to_owned(), either, at)
    } else {
        let text = at.text()?;
        (text.to_owned(), text.to_owned(), at.clone())
    };
    if model == "none" {
        return Some(Choice::new(None, at));
    }
    let trouble = match availability(&model_at, "reranker", &model, &names.rerankers, CELLS_FAIL) {
        Ok(trouble) => trouble,
        // Any cross-encoder on the hub can be named in full.
        Err(()) if model.contains('/') => {
            paths::remember_encoder(&model_at, reranking_model(&model));
            hub_reranker_trouble(names)
        }
        Err(()) => {
            let mut known = suggestions(&names.rerankers);
            known.push("none");
            model_at.unknown("reranker", &known);
            return None;
        }
    };
    Some(Choice::new(Some(Reranker { name, model }), at).with_trouble(trouble))
}

/// Rerankers by full name work as soon as any reranker works.
fn hub_reranker_trouble(names: &Names<'_>) -> Option<String> {
    let reasons: Option<Vec<&String>> = names
        .rerankers
        .iter()
        .map(|known| match &known.availability {
            Availability::Available => None,
            Availability::Unavailable { reason } => Some(reason),
        })
        .collect();
    reasons?.first().map(|reason| (*reason).clone())
}

/// One query transform; `None` inside means none.
pub(super) fn query_transform(at: &At<'_>, names: &Names<'_>) -> Option<Choice<Option<String>>> {
    let text = at.text()?;
    if text == "none" {
        return Some(Choice::new(None, at));
    }
    match availability(
        at,
        "query transform",
        text,
        &names.query_transforms,
        CELLS_FAIL,
    ) {
        Ok(trouble) => Some(Choice::new(Some(text.to_owned()), at).with_trouble(trouble)),
        Err(()) => {
            let mut known = suggestions(&names.query_transforms);
            known.push("none");
            at.unknown("query transform", &known);
            None
        }
    }
}

/// An agent with its settings.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub kind: AgentKind,
    pub settings: Options,
}

const AGENTS: &[(&str, AgentKind)] = &[
    ("direct_llm", AgentKind::DirectLlm),
    ("fixed_rag", AgentKind::FixedRag),
    ("iterative_rag", AgentKind::IterativeRag),
    ("self_rag", AgentKind::SelfRag),
    // What older studies call the first.
    ("direct", AgentKind::DirectLlm),
];

/// One agent, by name or as a mapping with its settings.
pub(super) fn agent(at: &At<'_>, names: &Names<'_>) -> Option<Choice<Agent>> {
    let (word, settings) = if let Value::Map(_) = &at.node.value {
        let fields = at.fields(keys::AGENT)?;
        let word = match fields.either(&["type", "name"]) {
            Some(word) => word,
            None => fields.required("type", "write fixed_rag, iterative_rag or self_rag")?,
        };
        (word, agent_settings(&fields))
    } else {
        (at.clone(), Options::new())
    };
    let text = word.text()?;
    let Some((_, kind)) = AGENTS.iter().find(|(known, _)| *known == text) else {
        word.unknown("agent", &suggestions(&names.agents));
        return None;
    };
    let listed = if text == "direct" { "direct_llm" } else { text };
    let trouble = availability(&word, "agent", listed, &names.agents, CELLS_FAIL)
        .unwrap_or_else(|()| Some(format!("the agent '{text}' is not available")));
    let agent = Agent {
        kind: *kind,
        settings,
    };
    Some(Choice::new(agent, at).with_trouble(trouble))
}

/// The settings of agents among the keys of `fields`, verbatim.
pub(super) fn agent_settings(fields: &Fields<'_>) -> Options {
    let mut settings = Options::new();
    if let Some(number) = fields.get("max_iterations").and_then(|at| at.integer(1)) {
        settings.insert("max_iterations".to_owned(), json!(number));
    }
    let threshold = fields.get("retrieval_threshold");
    if let Some(number) = threshold.and_then(|at| at.number(0.0, 1.0)) {
        settings.insert("retrieval_threshold".to_owned(), json!(number));
    }
    for key in ["stop_on_sufficient", "verify_answer", "fallback_to_direct"] {
        if let Some(value) = fields.get(key).and_then(|at| at.boolean()) {
            settings.insert(key.to_owned(), json!(value));
        }
    }
    settings
}
