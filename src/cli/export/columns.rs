//! The columns of an export.

use crate::{
    cli::experiments::Stored,
    domain::{Outcome, Prediction},
};
use serde_json::Value;

/// The values of one column for some rows.
pub struct Column {
    pub name: String,
    pub values: Values,
}

/// Every value may be missing.
pub enum Values {
    Text(Vec<Option<String>>),
    Count(Vec<Option<i64>>),
    Number(Vec<Option<f64>>),
}

impl Column {
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Text(values) => values.len(),
            Values::Count(values) => values.len(),
            Values::Number(values) => values.len(),
        }
    }

    /// A value as CSV has it; nothing as nothing.
    pub fn text(&self, row: usize) -> String {
        match &self.values {
            Values::Text(values) => values[row].clone().unwrap_or_default(),
            Values::Count(values) => values[row].map(|n| n.to_string()).unwrap_or_default(),
            Values::Number(values) => values[row].map(|n| n.to_string()).unwrap_or_default(),
        }
    }
}

/// All columns for these records of an experiment; without an experiment, the
/// columns without a row.
pub fn of(stored: Option<&Stored>, records: &[Prediction], metrics: &[String]) -> Vec<Column> {
    let mut columns = configuration(stored, records.len());
    let text = |of: &dyn Fn(&Prediction) -> Option<String>| -> Values {
        Values::Text(records.iter().map(of).collect())
    };
    let count = |of: &dyn Fn(&Prediction) -> usize| -> Values {
        let count = |record| i64::try_from(of(record)).ok();
        Values::Count(records.iter().map(count).collect())
    };
    let mut add = |name: &str, values: Values| {
        let name = name.to_owned();
        columns.push(Column { name, values });
    };
    add("idx", count(&|record| record.idx));
    add("question", text(&|record| Some(record.question.clone())));
    add(
        "expected",
        text(&|record| serde_json::to_string(&record.expected).ok()),
    );
    add("outcome", text(&|record| Some(outcome(record).to_owned())));
    add(
        "prediction",
        // The text of an error is no prediction.
        text(&|record| record.is_answered().then(|| record.prediction.clone())),
    );
    add("error", text(&|record| record.error.clone()));
    add(
        "failure_class",
        text(&|record| record.failure_class.map(|class| class.to_string())),
    );
    add(
        "retrieved",
        text(&|record| {
            let ids: Vec<&str> = record.retrieved.iter().map(|hit| hit.id.as_str()).collect();
            (!ids.is_empty()).then(|| serde_json::to_string(&ids).unwrap_or_default())
        }),
    );
    add("prompt", text(&|record| record.prompt.clone()));
    add("batch_size", count(&|record| record.batch_size));
    add("attempt", count(&|record| record.attempt as usize));
    add("tokens_in", count(&|record| record.tokens_in));
    add("tokens_out", count(&|record| record.tokens_out));
    add("latency_ms", count(&|record| record.latency_ms as usize));
    for metric in metrics {
        let score = |record: &Prediction| record.metrics.get(metric).and_then(Value::as_f64);
        add(metric, Values::Number(records.iter().map(score).collect()));
    }
    columns
}

/// The same in every row.
fn configuration(stored: Option<&Stored>, rows: usize) -> Vec<Column> {
    let row = stored.map(|stored| &stored.row);
    let texts: [(&str, Option<String>); 8] = [
        ("experiment", row.map(|row| row.name.clone())),
        ("type", row.map(|row| row.kind_name().to_owned())),
        ("model", row.map(|row| row.model.clone())),
        ("quantization", row.and_then(|row| row.quantization.clone())),
        ("prompt_name", row.map(|row| row.prompt.clone())),
        ("retriever", row.and_then(|row| row.retriever.clone())),
        ("dataset", row.map(|row| row.dataset.clone())),
        ("phase", row.map(|row| row.phase.to_string())),
    ];
    let mut columns: Vec<Column> = texts
        .into_iter()
        .map(|(name, text)| Column {
            name: name.to_owned(),
            values: Values::Text(vec![text; rows]),
        })
        .collect();
    let top_k = row
        .and_then(|row| row.top_k)
        .and_then(|k| i64::try_from(k).ok());
    columns.insert(
        6,
        Column {
            name: "top_k".to_owned(),
            values: Values::Count(vec![top_k; rows]),
        },
    );
    columns
}

fn outcome(record: &Prediction) -> &'static str {
    match record.outcome() {
        Outcome::Answered => "answered",
        Outcome::Failed => "failed",
        Outcome::Aborted => "aborted",
    }
}
