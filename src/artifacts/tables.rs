//! `study_summary.json` and `results.csv`, from one experiment after another.
//!
//! A study may have very many, and its tables are rendered while it runs: of
//! each experiment only the text of its cells is held.

use super::{
    atomic::{self, Durability},
    error::{ArtifactError, Result},
    lenient, time,
};
use crate::domain::Phase;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    io::{self, Write},
    path::Path,
};

/// One experiment in the tables.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRow {
    /// The experiment's name.
    pub experiment: String,
    /// Where it stands.
    pub status: Phase,
    /// What it is: columns and values, in order.
    pub fields: Vec<(String, String)>,
    /// Its scores; what is no scalar is not in `results.csv`.
    pub metrics: Map<String, Value>,
    /// Seconds of work over all attempts; `None` when it never ran.
    pub duration: Option<f64>,
    /// The first line of its error.
    pub error: Option<String>,
}

/// The tables of a study.
#[derive(Debug)]
pub struct Tables {
    study: String,
    /// The entries of the summary as they stand in the file.
    entries: String,
    columns: Vec<Column>,
    rows: Vec<Row>,
    /// The texts of all cells, one after the other.
    text: String,
    cells: Vec<Cell>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    is_metric: bool,
    name: String,
}

/// The first two cells of a line, and where the others are.
#[derive(Debug)]
struct Row {
    experiment: String,
    status: Phase,
    /// After its last one in `Tables::cells`.
    cells_end: usize,
}

#[derive(Debug)]
struct Cell {
    column: usize,
    /// After its last byte in `Tables::text`.
    end: usize,
}

impl Tables {
    /// Tables without an experiment.
    pub fn new(study: &str) -> Self {
        Self {
            study: study.to_owned(),
            entries: String::new(),
            columns: Vec::new(),
            rows: Vec::new(),
            text: String::new(),
            cells: Vec::new(),
        }
    }

    /// Adds an experiment.
    pub fn add(&mut self, row: TableRow) {
        self.add_entry(&row);
        for (name, value) in row.fields {
            self.add_cell(false, name, &value);
        }
        for (name, value) in row.metrics {
            if !matches!(value, Value::Array(_) | Value::Object(_)) {
                self.add_cell(true, name, &lenient::text(value).unwrap_or_default());
            }
        }
        self.rows.push(Row {
            experiment: row.experiment,
            status: row.status,
            cells_end: self.cells.len(),
        });
    }

    fn add_entry(&mut self, row: &TableRow) {
        #[derive(Serialize)]
        struct Entry<'a> {
            name: &'a str,
            status: Phase,
            metrics: &'a Map<String, Value>,
            duration: Option<f64>,
            error: Option<&'a str>,
        }
        let entry = Entry {
            name: &row.experiment,
            status: row.status,
            metrics: &row.metrics,
            duration: row.duration,
            error: row.error.as_deref(),
        };
        // Plain data with text keys always serialises.
        let text = serde_json::to_string_pretty(&entry).unwrap_or_default();
        if !self.entries.is_empty() {
            self.entries.push(',');
        }
        for line in text.lines() {
            self.entries.push_str("\n    ");
            self.entries.push_str(line);
        }
    }

    fn add_cell(&mut self, is_metric: bool, name: String, value: &str) {
        let known = self
            .columns
            .iter()
            .position(|column| column.is_metric == is_metric && column.name == name);
        let column = known.unwrap_or_else(|| {
            self.columns.push(Column { is_metric, name });
            self.columns.len() - 1
        });
        self.text.push_str(value);
        let end = self.text.len();
        self.cells.push(Cell { column, end });
    }

    /// Writes `study_summary.json`.
    ///
    /// # Errors
    /// When it can not be written.
    pub(super) fn write_summary(&self, path: &Path) -> Result<()> {
        let quoted = |text: &str| {
            serde_json::to_string(text).map_err(|error| ArtifactError::malformed(path, error))
        };
        let (study, timestamp) = (quoted(&self.study)?, quoted(&time::now())?);
        let break_after = if self.entries.is_empty() { "" } else { "\n  " };
        let file = Durability::Derivable;
        atomic::write_with(path, "summary::write", file, |out| {
            write!(out, "{{\n  \"study\": {study},\n  \"experiments\": [")?;
            out.write_all(self.entries.as_bytes())?;
            write!(out, "{break_after}],\n  \"timestamp\": {timestamp}\n}}\n")
        })
    }

    /// Writes `results.csv`: fields in the order in which they first appeared,
    /// then metrics by name.
    ///
    /// # Errors
    /// When it can not be written.
    pub(super) fn write_csv(&self, path: &Path) -> Result<()> {
        let file = Durability::Derivable;
        atomic::write_with(path, "csv::write", file, |out| self.csv(out))
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut lines = csv::Writer::from_writer(out);
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        // Fields keep their order, because the sort is stable.
        order.sort_by_key(|&column| {
            let Column { is_metric, name } = &self.columns[column];
            is_metric.then_some(name)
        });
        let names = order
            .iter()
            .map(|&column| self.columns[column].name.as_str());
        lines.write_record(["experiment", "status"].into_iter().chain(names))?;
        let (mut cell, mut start) = (0, 0);
        for row in &self.rows {
            let mut values = vec![""; self.columns.len()];
            for Cell { column, end } in &self.cells[cell..row.cells_end] {
                values[*column] = &self.text[start..*end];
                start = *end;
            }
            cell = row.cells_end;
            let values = order.iter().map(|&column| values[column]);
            let head = [row.experiment.as_str(), row.status.as_str()];
            lines.write_record(head.into_iter().chain(values))?;
        }
        lines.flush()
    }
}
