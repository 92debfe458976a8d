//! Writes small Parquet files with the schemas of published ones.

use parquet::{
    basic::{Compression, ConvertedType, Repetition},
    column::writer::ColumnWriter,
    data_type::ByteArray,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::{parser::parse_message_type, types::Type},
};
use serde_json::Value;
use std::{
    fs::{File, create_dir_all},
    path::Path,
    sync::Arc,
};

/// One column of a row group: its levels as the format defines them, and the
/// values that are there.
#[derive(Default)]
struct Leaf {
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    values: Vec<Value>,
}

/// Definition and repetition level.
type Levels = (i16, i16);

/// Writes `rows` (objects) under a schema in Parquet's message notation, in
/// groups of `group` rows, compressed as most published files are.
pub fn write_parquet(path: &Path, schema: &str, rows: &[Value], group: usize) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, Arc::clone(&schema), Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let mut leaves = Vec::new();
        for row in rows {
            let mut next = 0;
            for field in schema.get_fields() {
                shred(
                    field,
                    row.get(field.name()),
                    (0, 0),
                    0,
                    &mut leaves,
                    &mut next,
                );
            }
        }
        let mut row_group = writer.next_row_group().unwrap();
        for leaf in leaves {
            let mut column = row_group.next_column().unwrap().unwrap();
            macro_rules! write {
                ($writer:expr, $of:expr) => {{
                    let values: Vec<_> = leaf.values.iter().map($of).collect();
                    let levels = (Some(&leaf.definitions[..]), Some(&leaf.repetitions[..]));
                    $writer.write_batch(&values, levels.0, levels.1).unwrap();
                }};
            }
            match column.untyped() {
                ColumnWriter::BoolColumnWriter(it) => write!(it, |v| v.as_bool().unwrap()),
                ColumnWriter::Int32ColumnWriter(it) => write!(it, |v| v.as_i64().unwrap() as i32),
                ColumnWriter::Int64ColumnWriter(it) => write!(it, |v| v.as_i64().unwrap()),
                ColumnWriter::DoubleColumnWriter(it) => write!(it, |v| v.as_f64().unwrap()),
                ColumnWriter::ByteArrayColumnWriter(it) => {
                    write!(it, |v| ByteArray::from(v.as_str().unwrap()));
                }
                _ => panic!("a column of a type that no test writes"),
            }
            column.close().unwrap();
        }
        row_group.close().unwrap();
    }
    writer.close().unwrap();
}

/// Takes a value apart into the leaves of its type, from leaf `next` on.
/// `depth` is the number of lists around it.
fn shred(
    kind: &Type,
    value: Option<&Value>,
    (mut definition, repetition): Levels,
    depth: i16,
    leaves: &mut Vec<Leaf>,
    next: &mut usize,
) {
    let value = value.filter(|value| !value.is_null());
    if kind.get_basic_info().repetition() == Repetition::OPTIONAL {
        if value.is_none() {
            return nothing(kind, (definition, repetition), leaves, next);
        }
        definition += 1;
    }
    if kind.is_primitive() {
        let leaf = leaf(leaves, next);
        leaf.definitions.push(definition);
        leaf.repetitions.push(repetition);
        leaf.values.push(value.unwrap().clone());
    } else if kind.get_basic_info().converted_type() == ConvertedType::LIST {
        let items = value.unwrap().as_array().unwrap();
        let element = &kind.get_fields()[0].get_fields()[0];
        if items.is_empty() {
            return nothing(kind, (definition, repetition), leaves, next);
        }
        let start = *next;
        for (i, item) in items.iter().enumerate() {
            *next = start;
            let repetition = if i == 0 { repetition } else { depth + 1 };
            let levels = (definition + 1, repetition);
            shred(element, Some(item), levels, depth + 1, leaves, next);
        }
    } else {
        for field in kind.get_fields() {
            let inner = value.and_then(|value| value.get(field.name()));
            shred(field, inner, (definition, repetition), depth, leaves, next);
        }
    }
}

/// A value that is not there, in every leaf of its type.
fn nothing(kind: &Type, levels: Levels, leaves: &mut Vec<Leaf>, next: &mut usize) {
    if kind.is_primitive() {
        let leaf = leaf(leaves, next);
        leaf.definitions.push(levels.0);
        leaf.repetitions.push(levels.1);
        return;
    }
    for field in kind.get_fields() {
        nothing(field, levels, leaves, next);
    }
}

fn leaf<'a>(leaves: &'a mut Vec<Leaf>, next: &mut usize) -> &'a mut Leaf {
    if leaves.len() <= *next {
        leaves.push(Leaf::default());
    }
    *next += 1;
    &mut leaves[*next - 1]
}
