//! The table of a terminal, as wide as that is.

use super::{HEADER, Row};
use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, presets};

/// Columns that are left out where the terminal is too narrow, the first of
/// these first: lines for pipes and JSON have all of them.
const DISPENSABLE: [usize; 5] = [5, 4, 6, 7, 3];

/// Columns whose text may go over several lines, and how narrow they may get.
const WRAPPED: [(usize, usize); 2] = [(6, 20), (7, 30)];

/// Blanks and a line beside each column.
const BESIDE: usize = 3;

/// A name is not made shorter than this.
const SHORTEST_NAME: usize = 16;

/// The terminal's width, where there is one.
pub fn width() -> Option<usize> {
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

/// The rows in a table of at most `width` characters.
pub fn table(rows: &[Row], colors: bool, width: Option<usize>) -> Table {
    let shape = Shape::of(rows, width);
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(shape.columns.iter().map(|column| HEADER[*column]));
    if !colors {
        table.force_no_tty();
    }
    if let Some(width) = width {
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    for row in rows {
        table.add_row(shape.columns.iter().map(|column| {
            let text = &row.cells[*column];
            let cell = match column {
                0 => Cell::new(shortened(text, shape.name)),
                _ => Cell::new(text),
            };
            match row.color {
                Some(color) if *column == 1 && colors => cell.fg(color),
                _ => cell,
            }
        }));
    }
    for (place, column) in shape.columns.iter().enumerate() {
        let is_wrapped = WRAPPED.iter().any(|(wrapped, _)| wrapped == column);
        if let Some(column) = table.column_mut(place)
            && !is_wrapped
        {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

/// Which columns are shown, and how long names may be.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    columns: Vec<usize>,
    name: usize,
}

impl Shape {
    fn of(rows: &[Row], width: Option<usize>) -> Self {
        let widest = |column: usize| {
            let cells = rows.iter().map(|row| row.cells[column].chars().count());
            cells.chain([HEADER[column].len()]).max().unwrap_or(0)
        };
        let mut shape = Self {
            columns: (0..HEADER.len()).collect(),
            name: widest(0),
        };
        let Some(width) = width else {
            return shape;
        };
        let least = |column: usize| {
            let narrow = WRAPPED.iter().find(|(wrapped, _)| *wrapped == column);
            narrow.map_or(widest(column), |(_, least)| widest(column).min(*least))
        };
        let beside_name = |columns: &[usize]| -> usize {
            let others = columns.iter().filter(|column| **column != 0);
            others.map(|column| least(*column) + BESIDE).sum::<usize>() + BESIDE + 1
        };
        // A name of half the width still says which it is.
        let wanted = shape.name.min((width / 2).max(SHORTEST_NAME));
        for dispensable in DISPENSABLE {
            if wanted + beside_name(&shape.columns) <= width {
                break;
            }
            shape.columns.retain(|column| *column != dispensable);
        }
        let room = width.saturating_sub(beside_name(&shape.columns));
        shape.name = shape.name.min(room.max(SHORTEST_NAME));
        shape
    }
}

/// A name without its middle: what tells names apart is mostly at their ends.
fn shortened(name: &str, length: usize) -> String {
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= length {
        return name.to_owned();
    }
    let kept = length.saturating_sub(1);
    let (start, end) = (kept / 2, kept - kept / 2);
    let start = characters[..start].iter();
    let end = characters[characters.len() - end..].iter();
    start.chain(['…'].iter()).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, error: &str) -> Row {
        let cells = [
            name,
            "failed",
            "32/100",
            "68",
            "transient",
            "12 min ago",
            "retries 68 questions",
            error,
        ];
        Row {
            cells: cells.map(str::to_owned),
            color: None,
        }
    }

    #[test]
    fn a_narrow_terminal_gets_fewer_columns_and_no_broken_words() {
        let name = "rag_hf_Qwen_Qwen2.57BInstruct_simple_minilm_recursive_1024_k10_default_nq_8bit";
        let rows = [
            row(name, "out of memory while the model was loaded"),
            row("b", "-"),
        ];
        for width in [60, 80, 100, 120, 200] {
            let text = table(&rows, false, Some(width)).to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            assert!(
                text.contains("32/100") && text.contains("_nq_8bit"),
                "{text}"
            );
            assert!(text.contains("failed"), "{text}");
        }
        let wide = table(&rows, false, Some(240)).to_string();
        assert!(wide.contains(name) && wide.contains("12 min ago"), "{wide}");
        let eighty = table(&rows, false, Some(80)).to_string();
        assert!(!eighty.contains("12 min ago"), "{eighty}");
        // Two rows, their rules, and the error over a few lines.
        assert!(eighty.lines().count() < 12, "{eighty}");
    }
}
