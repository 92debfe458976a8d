//! Experiments side by side, by what they have in common.
//!
//! Only complete experiments count: the mean of one that failed half way is
//! over other questions than that of its neighbours.

use super::{Cell, ExperimentRow, Measured, Table, measured::pooled};
use crate::domain::Phase;
use std::{collections::BTreeMap, str::FromStr};
use thiserror::Error;

/// What experiments can be grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// The model.
    Model,
    /// The dataset.
    Dataset,
    /// The prompt.
    Prompt,
    /// The retriever; experiments without one form a group of their own.
    Retriever,
    /// The quantisation.
    Quantization,
    /// Passages in the prompt.
    TopK,
    /// With or without retrieval.
    Type,
}

impl Axis {
    /// Every axis.
    pub const ALL: [Self; 7] = [
        Self::Model,
        Self::Dataset,
        Self::Prompt,
        Self::Retriever,
        Self::Quantization,
        Self::TopK,
        Self::Type,
    ];

    /// The word on the command line and in headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::Prompt => "prompt",
            Self::Retriever => "retriever",
            Self::Quantization => "quantization",
            Self::TopK => "top_k",
            Self::Type => "type",
        }
    }

    fn of(self, row: &ExperimentRow) -> Group {
        let text = |text: &str| Group(None, Some(text.to_owned()));
        match self {
            Self::Model => text(&row.model),
            Self::Dataset => text(&row.dataset),
            Self::Prompt => text(&row.prompt),
            Self::Retriever => Group(None, row.retriever.clone()),
            Self::Quantization => Group(None, row.quantization.clone()),
            Self::TopK => Group(row.top_k, None),
            Self::Type => text(row.kind_name()),
        }
    }
}

/// Where a row stands on an axis: numbers in the order of numbers, then
/// texts; nothing first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group(Option<usize>, Option<String>);

impl Group {
    fn cell(&self) -> Cell {
        match self {
            Self(Some(number), _) => Cell::Count(*number),
            Self(None, text) => Cell::text(text.clone()),
        }
    }
}

/// A word that names no axis.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{0}' is nothing to group by; there are model, dataset, prompt, retriever, quantization, top_k, type"
)]
pub struct UnknownAxis(String);

impl FromStr for Axis {
    type Err = UnknownAxis;

    fn from_str(word: &str) -> Result<Self, UnknownAxis> {
        let axis = Self::ALL.into_iter().find(|axis| axis.as_str() == word);
        axis.ok_or_else(|| UnknownAxis(word.to_owned()))
    }
}

/// Complete experiments that have the metric, best first, equal ones by name.
pub fn best<'a>(measured: &'a [Measured], metric: &str) -> Vec<&'a Measured> {
    let mut scored: Vec<(&Measured, f64)> = measured
        .iter()
        .filter(|one| one.row.phase == Phase::Complete)
        .filter_map(|one| Some((one, one.row.metric(metric)?)))
        .collect();
    scored.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.row.name.cmp(&b.row.name)));
    scored.into_iter().map(|(one, _)| one).collect()
}

/// For every value on the axis: how many experiments, their mean of the
/// metric, and the best of them. Best mean first.
pub fn group_by(measured: &[Measured], axis: Axis, metric: &str) -> Table {
    let mut groups: BTreeMap<Group, Vec<&Measured>> = BTreeMap::new();
    for one in best(measured, metric) {
        groups.entry(axis.of(&one.row)).or_default().push(one);
    }
    let mut groups: Vec<_> = groups
        .into_iter()
        .map(|(group, members)| (group, pooled(&members, metric), members))
        .collect();
    // The sort is stable: equal means stay in the order of the axis.
    let mean = |cell: &Cell| cell.value().unwrap_or(f64::NEG_INFINITY);
    groups.sort_by(|(_, x, _), (_, y, _)| mean(y).total_cmp(&mean(x)));
    Table {
        headers: vec![
            axis.as_str().to_owned(),
            "experiments".to_owned(),
            format!("mean {metric}"),
            format!("best {metric}"),
            "best experiment".to_owned(),
        ],
        rows: groups
            .into_iter()
            .map(|(group, pooled, members)| {
                let first = members.first();
                vec![
                    group.cell(),
                    Cell::Count(members.len()),
                    pooled,
                    first.map_or(Cell::Empty, |best| best.row.metric_cell(metric)),
                    Cell::text(first.map(|best| best.row.name.clone())),
                ]
            })
            .collect(),
    }
}

/// Means of the metric over the experiments at each crossing of two axes.
pub fn pivot(measured: &[Measured], down: Axis, across: Axis, metric: &str) -> Table {
    let mut crossings: BTreeMap<(Group, Group), Vec<&Measured>> = BTreeMap::new();
    for one in best(measured, metric) {
        let crossing = (down.of(&one.row), across.of(&one.row));
        crossings.entry(crossing).or_default().push(one);
    }
    let mut columns: Vec<Group> = crossings.keys().map(|(_, column)| column.clone()).collect();
    columns.sort();
    columns.dedup();
    let mut lines: Vec<Group> = crossings.keys().map(|(line, _)| line.clone()).collect();
    lines.dedup();
    let headers = std::iter::once(format!("{} \\ {}", down.as_str(), across.as_str()))
        .chain(columns.iter().map(|column| column.cell().to_string()))
        .collect();
    let rows = lines
        .into_iter()
        .map(|line| {
            let mut cells = vec![line.cell()];
            for column in &columns {
                let members = crossings.get(&(line.clone(), column.clone()));
                cells.push(members.map_or(Cell::Empty, |members| pooled(members, metric)));
            }
            cells
        })
        .collect();
    Table { headers, rows }
}
