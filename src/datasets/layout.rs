//! Files as sequences of JSON objects.

use super::{DatasetError, record};
use crate::{
    domain::{DatasetSpec, Question},
    records::{ParquetFile, RecordsError},
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// What files hold.
pub(super) struct Contents {
    pub questions: Vec<Question>,
    /// SHA-256 of the whole file, or of the checksums of several.
    pub checksum: String,
    pub skipped_empty: usize,
}

/// Reads the first `num_questions` questions of some files; all of them where
/// a sample is to be drawn.
pub(super) fn read(
    spec: &DatasetSpec,
    files: &[PathBuf],
    num_questions: Option<usize>,
) -> Result<Contents, DatasetError> {
    let limit = num_questions.filter(|_| spec.sample_seed.is_none());
    let mut contents = Contents {
        questions: Vec::new(),
        checksum: String::new(),
        skipped_empty: 0,
    };
    let mut checksums = Vec::with_capacity(files.len());
    for path in files {
        let mut reader = Reader {
            spec,
            path,
            limit: limit.unwrap_or(usize::MAX),
            contents: &mut contents,
        };
        checksums.push(reader.read()?);
    }
    contents.checksum = match &checksums[..] {
        [only] => only.clone(),
        several => hexadecimal(&Sha256::digest(several.concat())),
    };
    Ok(contents)
}

struct Reader<'a> {
    spec: &'a DatasetSpec,
    path: &'a Path,
    limit: usize,
    contents: &'a mut Contents,
}

impl Reader<'_> {
    /// Reads the file and gives its checksum.
    fn read(&mut self) -> Result<String, DatasetError> {
        let extension = self.path.extension();
        let extension = extension.map(|text| text.to_string_lossy().to_lowercase());
        match extension.as_deref().unwrap_or_default() {
            "parquet" => self.read_parquet(),
            "arrow" | "feather" => Err(self.unsupported("an Arrow file")),
            "gz" | "zst" | "bz2" | "xz" | "zip" => Err(self.unsupported("compressed")),
            "csv" => self.read_csv(b','),
            "tsv" => self.read_csv(b'\t'),
            "json" => self.read_json(),
            _ => self.read_lines(),
        }
    }

    fn unsupported(&self, what: &'static str) -> DatasetError {
        DatasetError::Unsupported {
            name: self.spec.name.clone(),
            path: self.path.to_owned(),
            what,
        }
    }

    fn unreadable(&self, source: io::Error) -> DatasetError {
        DatasetError::Unreadable {
            name: self.spec.name.clone(),
            path: self.path.to_owned(),
            source,
        }
    }

    fn malformed(&self, place: impl ToString, message: impl ToString) -> DatasetError {
        DatasetError::Malformed {
            name: self.spec.name.clone(),
            path: self.path.to_owned(),
            place: place.to_string(),
            message: message.to_string(),
        }
    }

    fn is_full(&self) -> bool {
        self.contents.questions.len() >= self.limit
    }

    fn open(&self) -> Result<Hashing<File>, DatasetError> {
        let file = File::open(self.path).map_err(|error| self.unreadable(error))?;
        Ok(Hashing {
            inner: file,
            digest: Sha256::new(),
        })
    }

    fn take(
        &mut self,
        object: &Map<String, Value>,
        place: impl ToString,
    ) -> Result<(), DatasetError> {
        match record::question(object, &self.spec.fields) {
            Ok(Some(mut question)) => {
                question.idx = self.contents.questions.len();
                self.contents.questions.push(question);
            }
            Ok(None) => self.contents.skipped_empty += 1,
            Err(message) => return Err(self.malformed(place, message)),
        }
        Ok(())
    }

    fn take_value(&mut self, value: &Value, place: impl ToString) -> Result<(), DatasetError> {
        match value.as_object() {
            Some(object) => self.take(object, place),
            None => Err(self.malformed(place, "a JSON object is expected here")),
        }
    }

    /// One JSON object per line; blank lines are passed over.
    fn read_lines(&mut self) -> Result<String, DatasetError> {
        let mut reader = BufReader::with_capacity(1 << 16, self.open()?);
        let mut line = Vec::new();
        let mut number = 0_usize;
        while !self.is_full() {
            line.clear();
            let read = reader
                .read_until(b'\n', &mut line)
                .map_err(|error| self.unreadable(error))?;
            if read == 0 {
                break;
            }
            number += 1;
            let text = without_byte_order_mark(&line, number == 1);
            if text.trim_ascii().is_empty() {
                continue;
            }
            let value: Value = serde_json::from_slice(text)
                .map_err(|error| self.malformed(number, format!("not valid JSON: {error}")))?;
            self.take_value(&value, number)?;
        }
        // The checksum is of the whole file, however little of it is used.
        io::copy(&mut reader, &mut io::sink()).map_err(|error| self.unreadable(error))?;
        Ok(reader.into_inner().finish())
    }

    /// A list of objects; SQuAD's `data` of articles and paragraphs; or lines
    /// under the wrong extension.
    fn read_json(&mut self) -> Result<String, DatasetError> {
        let mut file = self.open()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| self.unreadable(error))?;
        let text = without_byte_order_mark(&bytes, true);
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
        let root = match values.next() {
            Some(Ok(root)) => root,
            Some(Err(error)) => {
                return Err(self.malformed(error.line(), format!("not valid JSON: {error}")));
            }
            None => return Ok(file.finish()),
        };
        if !text[values.byte_offset()..].trim_ascii().is_empty() {
            return self.read_lines();
        }
        let items = match &root {
            Value::Array(items) => items,
            Value::Object(object) => match ["data", "Data", "questions"]
                .iter()
                .find_map(|key| object.get(*key)?.as_array())
            {
                Some(items) => items,
                None => {
                    return Err(self.malformed(
                        1,
                        "a list of objects, or an object with a list under 'data', is expected",
                    ));
                }
            },
            _ => return Err(self.malformed(1, "a list of objects is expected")),
        };
        for (number, item) in items.iter().enumerate() {
            if self.is_full() {
                break;
            }
            let place = format!("item {}", number + 1);
            match item.get("paragraphs").and_then(Value::as_array) {
                Some(paragraphs) => self.take_paragraphs(paragraphs, &place)?,
                None => self.take_value(item, place)?,
            }
        }
        Ok(file.finish())
    }

    fn take_paragraphs(&mut self, paragraphs: &[Value], place: &str) -> Result<(), DatasetError> {
        for paragraph in paragraphs {
            let questions = paragraph.get("qas").and_then(Value::as_array);
            for question in questions.into_iter().flatten() {
                if self.is_full() {
                    return Ok(());
                }
                match (self.spec.fields.context.as_ref(), question.as_object()) {
                    (Some(key), Some(question)) if !question.contains_key(key) => {
                        let mut question = question.clone();
                        // SQuAD's paragraph is the context of its questions.
                        if let Some(context) = paragraph.get(key) {
                            question.insert(key.clone(), context.clone());
                        }
                        self.take(&question, place)?;
                    }
                    _ => self.take_value(question, place)?,
                }
            }
        }
        Ok(())
    }

    /// A table whose first row names the columns.
    fn read_csv(&mut self, delimiter: u8) -> Result<String, DatasetError> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .from_reader(self.open()?);
        let headers = reader
            .headers()
            .map_err(|error| self.table_error(error))?
            .clone();
        let mut row = csv::StringRecord::new();
        while !self.is_full()
            && reader
                .read_record(&mut row)
                .map_err(|error| self.table_error(error))?
        {
            let line = row.position().map_or(0, csv::Position::line);
            let object: Map<String, Value> = headers
                .iter()
                .zip(&row)
                .map(|(key, cell)| (key.trim_start_matches('\u{feff}').to_owned(), cell.into()))
                .collect();
            self.take(&object, line)?;
        }
        let mut rest = reader.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(|error| self.unreadable(error))?;
        Ok(rest.finish())
    }

    /// Only the columns that hold something of a question are read.
    fn read_parquet(&mut self) -> Result<String, DatasetError> {
        let mut whole = self.open()?;
        io::copy(&mut whole, &mut io::sink()).map_err(|error| self.unreadable(error))?;
        let table = |source: RecordsError| DatasetError::Table {
            name: self.spec.name.clone(),
            source,
        };
        let file = ParquetFile::open(self.path).map_err(table)?;
        let names = file.columns();
        let columns = record::columns(&names, &self.spec.fields)
            .map_err(|message| self.malformed("schema", message))?;
        let rows = file.rows(&columns).map_err(table)?;
        for (number, row) in rows.enumerate() {
            if self.is_full() {
                break;
            }
            let row = row.map_err(|source| DatasetError::Table {
                name: self.spec.name.clone(),
                source,
            })?;
            self.take(&row, format!("row {}", number + 1))?;
        }
        Ok(whole.finish())
    }

    fn table_error(&self, error: csv::Error) -> DatasetError {
        let line = error.position().map_or(1, csv::Position::line);
        match error.into_kind() {
            csv::ErrorKind::Io(error) => self.unreadable(error),
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => self.malformed(
                line,
                format!("{len} cells where the first row has {expected_len}"),
            ),
            _ => self.malformed(line, "not valid UTF-8"),
        }
    }
}

fn without_byte_order_mark(bytes: &[u8], is_start: bool) -> &[u8] {
    match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) if is_start => rest,
        _ => bytes,
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    digest: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

impl<R> Hashing<R> {
    fn finish(self) -> String {
        hexadecimal(&self.digest.finalize())
    }
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
