//! Rows and columns, and the texts they become.

use serde_json::{Map, Value, json};

/// What stands in a place of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing is known.
    Empty,
    /// A text.
    Text(String),
    /// A number of things.
    Count(usize),
    /// A number, shown with four digits after the point.
    Number(f64),
    /// A p-value; none is shown as 0.
    Probability(f64),
    /// A mean with its 95 % interval.
    Estimate {
        /// The mean.
        mean: f64,
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
}

impl Cell {
    /// A text, or nothing.
    pub fn text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Empty, |text| Self::Text(text.into()))
    }

    /// A number, or nothing.
    pub fn number(number: Option<f64>) -> Self {
        number.map_or(Self::Empty, Self::Number)
    }

    /// A metric's mean with its interval, as far as the aggregates of an
    /// experiment tell them.
    pub fn estimate(aggregates: &Map<String, Value>, metric: &str) -> Self {
        let Some(mean) = aggregates.get(metric).and_then(Value::as_f64) else {
            return Self::Empty;
        };
        let bound = |i: usize| aggregates.get(&format!("{metric}_ci95"))?.get(i)?.as_f64();
        match (bound(0), bound(1)) {
            (Some(low), Some(high)) => Self::Estimate { mean, low, high },
            _ => Self::Number(mean),
        }
    }

    /// The number in it that can be sorted by.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Empty | Self::Text(_) => None,
            Self::Count(count) => Some(*count as f64),
            Self::Number(number) | Self::Probability(number) => Some(*number),
            Self::Estimate { mean, .. } => Some(*mean),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Text(text) => json!(text),
            Self::Count(count) => json!(count),
            Self::Number(number) | Self::Probability(number) => json!(number),
            Self::Estimate { mean, .. } => json!(mean),
        }
    }
}

impl std::fmt::Display for Cell {
    /// As people read it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.pad("-"),
            Self::Text(text) => f.pad(text),
            Self::Count(count) => f.pad(&count.to_string()),
            Self::Probability(p) if *p < 0.000_1 => f.pad("<0.0001"),
            Self::Number(number) | Self::Probability(number) => f.pad(&format!("{number:.4}")),
            Self::Estimate { mean, low, high } => {
                f.pad(&format!("{mean:.3} [{low:.3}, {high:.3}]"))
            }
        }
    }
}

/// A table; every row has as many cells as there are headers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Names of the columns.
    pub headers: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// For people: GitHub's Markdown, columns aligned in the text too, numbers
    /// to the right.
    pub fn to_markdown(&self) -> String {
        let escape = |text: String| text.replace('|', "\\|").replace(['\n', '\r'], " ");
        let header: Vec<String> = self.headers.iter().cloned().map(escape).collect();
        let body: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| escape(cell.to_string())).collect())
            .collect();
        let is_number = self.number_columns();
        let widths: Vec<usize> = (0..header.len())
            .map(|column| {
                let cells = body.iter().filter_map(|row| row.get(column));
                let widest = cells
                    .chain([&header[column]])
                    .map(|text| text.chars().count());
                widest.max().unwrap_or(0).max(3)
            })
            .collect();
        let line = |cells: &[String]| {
            let mut line = String::from("|");
            for (column, text) in cells.iter().enumerate() {
                let width = widths.get(column).copied().unwrap_or(0);
                let is_right = is_number.get(column).copied().unwrap_or(false);
                line.push_str(&match is_right {
                    true => format!(" {text:>width$} |"),
                    false => format!(" {text:<width$} |"),
                });
            }
            line + "\n"
        };
        let rule: Vec<String> = widths
            .iter()
            .zip(&is_number)
            .map(|(width, is_number)| match is_number {
                true => format!("{}:", "-".repeat(width - 1)),
                false => "-".repeat(*width),
            })
            .collect();
        let mut text = line(&header);
        text.push_str(&line(&rule));
        for row in &body {
            text.push_str(&line(row));
        }
        text
    }

    /// For the terminal: aligned columns, numbers to the right, no blanks at
    /// the ends of lines.
    pub fn to_text(&self) -> String {
        let is_number = self.number_columns();
        let lines: Vec<Vec<String>> = std::iter::once(self.headers.clone())
            .chain(self.rows.iter().map(|row| {
                let cells = row.iter().map(ToString::to_string);
                cells.map(|cell| cell.replace(['\n', '\r'], " ")).collect()
            }))
            .collect();
        let widths: Vec<usize> = (0..self.headers.len())
            .map(|column| {
                let cells = lines.iter().filter_map(|line| line.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for line in lines {
            let cells = line.iter().zip(&widths).zip(&is_number);
            let cells: Vec<String> = cells
                .map(|((cell, width), is_number)| match is_number {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                })
                .collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// Whether a column holds numbers only.
    fn number_columns(&self) -> Vec<bool> {
        (0..self.headers.len())
            .map(|column| {
                let mut cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.all(|cell| !matches!(cell, Cell::Text(_))) && !self.rows.is_empty()
            })
            .collect()
    }

    /// The columns of these names, in this order; unknown ones are left out.
    #[must_use]
    pub fn columns(&self, names: &[&str]) -> Self {
        let positions: Vec<usize> = names
            .iter()
            .filter_map(|name| self.headers.iter().position(|header| header == name))
            .collect();
        let pick = |row: &Vec<Cell>| {
            let cells = positions.iter().filter_map(|column| row.get(*column));
            cells.cloned().collect()
        };
        Self {
            headers: positions
                .iter()
                .map(|column| self.headers[*column].clone())
                .collect(),
            rows: self.rows.iter().map(pick).collect(),
        }
    }

    /// For spreadsheets and scripts (RFC 4180, `\n` between lines): numbers
    /// whole, nothing as nothing. A column of estimates becomes three:
    /// `f1,f1_low,f1_high`.
    pub fn to_csv(&self) -> String {
        let (headers, rows) = self.flat();
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> = cells.map(|cell| quoted(&cell)).collect();
            text.push_str(&cells.join(","));
            text.push('\n');
        };
        line(&mut headers.into_iter());
        for row in rows {
            line(&mut row.into_iter().map(|value| match value {
                Value::Null => String::new(),
                Value::String(text) => text,
                other => other.to_string(),
            }));
        }
        text
    }

    /// For scripts: a list of objects, estimates in three keys as in
    /// [`Table::to_csv`].
    pub fn to_json(&self) -> Value {
        let (headers, rows) = self.flat();
        let objects = rows.into_iter().map(|row| {
            let object: Map<String, Value> = headers.iter().cloned().zip(row).collect();
            Value::Object(object)
        });
        objects.collect()
    }

    fn flat(&self) -> (Vec<String>, Vec<Vec<Value>>) {
        let is_estimate: Vec<bool> = (0..self.headers.len())
            .map(|column| {
                let mut cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.any(|cell| matches!(cell, Cell::Estimate { .. }))
            })
            .collect();
        let mut headers = Vec::new();
        for (header, is_estimate) in self.headers.iter().zip(&is_estimate) {
            headers.push(header.clone());
            if *is_estimate {
                headers.extend([format!("{header}_low"), format!("{header}_high")]);
            }
        }
        let rows = self
            .rows
            .iter()
            .map(|row| {
                let mut values = Vec::new();
                for (cell, is_estimate) in row.iter().zip(&is_estimate) {
                    values.push(cell.json());
                    if *is_estimate {
                        values.extend(match cell {
                            Cell::Estimate { low, high, .. } => [json!(low), json!(high)],
                            _ => [Value::Null, Value::Null],
                        });
                    }
                }
                values
            })
            .collect();
        (headers, rows)
    }

    /// Takes the columns out that say the same in every row, and returns them
    /// as header and text: on a narrow terminal they are better said once.
    /// Columns of numbers stay, and so does all in a table of one row.
    pub fn without_constant_columns(&self) -> (Vec<(String, String)>, Self) {
        let mut constants = Vec::new();
        let mut kept = Vec::new();
        for (column, header) in self.headers.iter().enumerate() {
            let mut cells = self.rows.iter().filter_map(|row| row.get(column));
            match cells.next() {
                Some(first @ (Cell::Text(_) | Cell::Empty))
                    if self.rows.len() > 1 && cells.all(|cell| cell == first) =>
                {
                    if *first != Cell::Empty {
                        constants.push((header.clone(), first.to_string()));
                    }
                }
                _ => kept.push(column),
            }
        }
        let rest = Self {
            headers: kept
                .iter()
                .map(|column| self.headers[*column].clone())
                .collect(),
            rows: self
                .rows
                .iter()
                .map(|row| {
                    kept.iter()
                        .filter_map(|column| row.get(*column).cloned())
                        .collect()
                })
                .collect(),
        };
        (constants, rest)
    }
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
