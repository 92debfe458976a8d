use super::{RecordsError, pages::Pages};
use parquet::{
    errors::ParquetError,
    file::{
        reader::{FileReader, SerializedFileReader},
        serialized_reader::ReadOptionsBuilder,
    },
    record::{Field, Row, reader::RowIter},
    schema::types::Type,
};
use serde_json::{Map, Number, Value};
use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// An open Parquet file.
pub struct ParquetFile {
    path: PathBuf,
    reader: SerializedFileReader<Pages>,
}

impl ParquetFile {
    /// Opens a file and reads its footer.
    ///
    /// # Errors
    /// When the file can not be opened or has no sound footer.
    pub fn open(path: &Path) -> Result<Self, RecordsError> {
        let file = File::open(path).map_err(|source| RecordsError::Io {
            path: path.to_owned(),
            source,
        })?;
        let reader = guarded(path, || {
            SerializedFileReader::new_with_options(Pages(file), ReadOptionsBuilder::new().build())
        })?;
        Ok(Self {
            path: path.to_owned(),
            reader,
        })
    }

    fn root(&self) -> &Type {
        self.reader.metadata().file_metadata().schema()
    }

    /// The names of its columns, in their order; a nested one is one column.
    pub fn columns(&self) -> Vec<String> {
        let fields = self.root().get_fields().iter();
        fields.map(|field| field.name().to_owned()).collect()
    }

    /// Number of rows, as the footer tells it.
    pub fn len(&self) -> u64 {
        u64::try_from(self.reader.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows with the named columns only; a name that is no column is left
    /// out. A row is an object, a list a list, a group an object; texts
    /// without a type are taken as UTF-8, and dates and times are numbers.
    ///
    /// # Errors
    /// When the schema is damaged.
    pub fn rows(self, columns: &[&str]) -> Result<ParquetRows, RecordsError> {
        let path = self.path.clone();
        let rows = guarded(&path, || {
            let wanted = self.root().get_fields().iter();
            let wanted = wanted
                .filter(|field| columns.contains(&field.name()))
                .cloned()
                .collect();
            let projection = Type::group_type_builder(self.root().name())
                .with_fields(wanted)
                .build()?;
            RowIter::from_file_into(Box::new(self.reader)).project(Some(projection))
        })?;
        Ok(ParquetRows {
            path,
            rows: Some(rows),
        })
    }
}

/// The rows of a file. Ends after the first error.
pub struct ParquetRows {
    path: PathBuf,
    rows: Option<RowIter<'static>>,
}

impl Iterator for ParquetRows {
    type Item = Result<Map<String, Value>, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.rows.as_mut()?;
        let next = guarded(&self.path, || rows.next().transpose());
        match next {
            Ok(Some(row)) => Some(Ok(object(&row))),
            Ok(None) => {
                self.rows = None;
                None
            }
            Err(error) => {
                self.rows = None;
                Some(Err(error))
            }
        }
    }
}

/// The reader asserts what a damaged file breaks; here that is an error like
/// any other.
fn guarded<T>(
    path: &Path,
    read: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, RecordsError> {
    let damaged = |message: String| RecordsError::Damaged {
        path: path.to_owned(),
        message,
    };
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("its pages contradict its schema".to_owned())),
    }
}

fn object(row: &Row) -> Map<String, Value> {
    row.get_column_iter()
        .map(|(name, field)| (name.clone(), value(field)))
        .collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(truth) => Value::Bool(*truth),
        Field::Byte(number) => (*number).into(),
        Field::Short(number) => (*number).into(),
        Field::Int(number) | Field::Date(number) | Field::TimeMillis(number) => (*number).into(),
        Field::Long(number)
        | Field::TimeMicros(number)
        | Field::TimestampMillis(number)
        | Field::TimestampMicros(number) => (*number).into(),
        Field::UByte(number) => (*number).into(),
        Field::UShort(number) => (*number).into(),
        Field::UInt(number) => (*number).into(),
        Field::ULong(number) => (*number).into(),
        Field::Float16(number) => float(f64::from(number.to_f32())),
        Field::Float(number) => float(f64::from(*number)),
        Field::Double(number) => float(*number),
        Field::Decimal(_) => Value::String(field.to_string()),
        Field::Str(words) => Value::String(words.clone()),
        Field::Bytes(bytes) => Value::String(String::from_utf8_lossy(bytes.data()).into_owned()),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => Value::Object(
            map.entries()
                .iter()
                .map(|(key, field)| {
                    let key = match value(key) {
                        Value::String(key) => key,
                        other => other.to_string(),
                    };
                    (key, value(field))
                })
                .collect(),
        ),
    }
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
