//! Parquet: a row group per experiment, every column optional.

use super::{
    Sink,
    columns::{Column, Values},
};
use anyhow::Context;
use parquet::{
    basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::Type,
};
use std::{io::Write, sync::Arc};

pub struct ParquetSink<W: Write + Send>(SerializedFileWriter<W>);

impl<W: Write + Send> ParquetSink<W> {
    /// A file with these columns; they need no values.
    pub fn new(out: W, columns: &[Column]) -> anyhow::Result<Self> {
        let fields = columns
            .iter()
            .map(|column| Ok(Arc::new(field(column)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let schema = Type::group_type_builder("predictions")
            .with_fields(fields)
            .build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_created_by(concat!("ragicamp ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(Self(writer))
    }
}

fn field(column: &Column) -> anyhow::Result<Type> {
    let (physical, logical) = match &column.values {
        Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Values::Count(_) => (Physical::INT64, None),
        Values::Number(_) => (Physical::DOUBLE, None),
    };
    Ok(Type::primitive_type_builder(&column.name, physical)
        .with_logical_type(logical)
        .with_repetition(Repetition::OPTIONAL)
        .build()?)
}

impl<W: Write + Send> Sink for ParquetSink<W> {
    fn write(&mut self, columns: &[Column]) -> anyhow::Result<()> {
        let mut group = self.0.next_row_group()?;
        for column in columns {
            match &column.values {
                Values::Text(values) => put::<ByteArrayType, _>(&mut group, values, |text| {
                    ByteArray::from(text.as_str())
                }),
                Values::Count(values) => put::<Int64Type, _>(&mut group, values, |n| *n),
                Values::Number(values) => put::<DoubleType, _>(&mut group, values, |n| *n),
            }
            .with_context(|| format!("cannot write the column {}", column.name))?;
        }
        group.close()?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        self.0.close()?;
        Ok(())
    }
}

/// Writes the next column of a row group.
fn put<T: DataType, V>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    values: &[Option<V>],
    convert: impl Fn(&V) -> T::T,
) -> anyhow::Result<()> {
    let present: Vec<T::T> = values.iter().flatten().map(convert).collect();
    let levels: Vec<i16> = values
        .iter()
        .map(|value| i16::from(value.is_some()))
        .collect();
    let mut column = group
        .next_column()?
        .context("the schema has fewer columns")?;
    column
        .typed::<T>()
        .write_batch(&present, Some(&levels), None)?;
    column.close()?;
    Ok(())
}
