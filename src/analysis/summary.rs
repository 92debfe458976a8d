//! A row per experiment.

use super::{Cell, Table};
use crate::domain::{ExperimentKind, ExperimentSpec, Phase};
use serde_json::{Map, Value};

/// An experiment with what came out.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentRow {
    /// Its name.
    pub name: String,
    /// With or without retrieval.
    pub kind: ExperimentKind,
    /// The model, as in the study.
    pub model: String,
    /// `none`, `8bit`, `4bit`; `None` for models without that axis.
    pub quantization: Option<String>,
    /// The prompt's name.
    pub prompt: String,
    /// The retriever's name.
    pub retriever: Option<String>,
    /// Passages in the prompt.
    pub top_k: Option<usize>,
    /// The dataset's name.
    pub dataset: String,
    /// How far it came.
    pub phase: Phase,
    /// Questions with an answer.
    pub answered: usize,
    /// Questions in all.
    pub total: usize,
    /// The aggregate metrics, with `{metric}_ci95` beside each mean.
    pub metrics: Map<String, Value>,
}

impl ExperimentRow {
    /// The row of an experiment. `metrics` are the aggregates of its results;
    /// empty when there are none.
    pub fn new(
        spec: &ExperimentSpec,
        phase: Phase,
        answered: usize,
        total: usize,
        metrics: Map<String, Value>,
    ) -> Self {
        let has_quantization = spec.model.provider.has_quantization();
        Self {
            name: spec.name.clone(),
            kind: spec.kind,
            model: spec.model.to_string(),
            quantization: has_quantization.then(|| spec.quantization.to_string()),
            prompt: spec.prompt.name.clone(),
            retriever: spec
                .retriever
                .as_ref()
                .map(|retriever| retriever.name.clone()),
            top_k: spec.top_k,
            dataset: spec.dataset.name.clone(),
            phase,
            answered,
            total,
            metrics,
        }
    }

    /// The row of an experiment whose directory keeps no spec, as those of
    /// other versions: `about` is the metadata of its results, and what that
    /// does not say is `unknown`.
    pub fn described(
        name: &str,
        about: &Map<String, Value>,
        phase: Phase,
        answered: usize,
        total: usize,
        metrics: Map<String, Value>,
    ) -> Self {
        let text = |key: &str| about.get(key).and_then(Value::as_str).map(str::to_owned);
        let known = |key: &str| text(key).unwrap_or_else(|| "unknown".to_owned());
        let is_rag = text("type").map_or_else(|| name.starts_with("rag_"), |kind| kind == "rag");
        Self {
            name: name.to_owned(),
            kind: if is_rag {
                ExperimentKind::Rag
            } else {
                ExperimentKind::Direct
            },
            model: known("model"),
            quantization: text("quantization"),
            prompt: known("prompt"),
            retriever: text("retriever"),
            top_k: about
                .get("top_k")
                .and_then(Value::as_u64)
                .and_then(|k| usize::try_from(k).ok()),
            dataset: known("dataset"),
            phase,
            answered,
            total,
            metrics,
        }
    }

    /// The mean of a metric, where there is one.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).and_then(Value::as_f64)
    }

    /// `direct` or `rag`.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            ExperimentKind::Direct => "direct",
            ExperimentKind::Rag => "rag",
        }
    }

    /// The mean with its interval, as far as they are known.
    pub(super) fn metric_cell(&self, name: &str) -> Cell {
        Cell::estimate(&self.metrics, name)
    }
}

/// One line per experiment, in the order given: what it is, how far it came,
/// the mean of each metric with its interval, and the share of its questions
/// that were scored.
pub fn summary(rows: &[ExperimentRow], metric_names: &[String]) -> Table {
    let mut headers: Vec<String> = [
        "experiment",
        "type",
        "model",
        "quantization",
        "prompt",
        "retriever",
        "top_k",
        "dataset",
        "phase",
        "answered",
        "total",
    ]
    .map(str::to_owned)
    .to_vec();
    headers.extend(metric_names.iter().cloned());
    headers.push("coverage".to_owned());
    let rows = rows
        .iter()
        .map(|row| {
            let mut cells = vec![
                Cell::Text(row.name.clone()),
                Cell::Text(row.kind_name().to_owned()),
                Cell::Text(row.model.clone()),
                Cell::text(row.quantization.clone()),
                Cell::Text(row.prompt.clone()),
                Cell::text(row.retriever.clone()),
                row.top_k.map_or(Cell::Empty, Cell::Count),
                Cell::Text(row.dataset.clone()),
                Cell::Text(row.phase.to_string()),
                Cell::Count(row.answered),
                Cell::Count(row.total),
            ];
            cells.extend(metric_names.iter().map(|name| row.metric_cell(name)));
            cells.push(Cell::number(row.metric("coverage")));
            cells
        })
        .collect();
    Table { headers, rows }
}
