#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

#[allow(clippy::duplicate_mod, reason = "Each test module stands for itself.")]
#[path = "../../tests/support/parquet_table.rs"]
mod parquet_table;
use parquet_table::write_parquet;

const NESTED: &str = "message schema {
    optional binary id (STRING);
    optional group answer {
        optional group aliases (LIST) { repeated group list { optional binary element (STRING); } }
        optional binary value (STRING);
    }
    optional group context {
        optional group sentences (LIST) { repeated group list {
            optional group element (LIST) { repeated group list { optional binary element (STRING); } }
        } }
    }
    optional int64 number;
    required double share;
    optional boolean sure;
}";

fn nested(number: i64) -> Value {
    json!({
        "id": format!("q{number}"),
        "answer": {"aliases": ["a", "b"], "value": "a"},
        "context": {"sentences": [["one", "two"], [], ["three"]]},
        "number": number,
        "share": 0.5,
        "sure": number % 2 == 0,
    })
}

fn rows(path: &Path, columns: &[&str]) -> Result<Vec<Map<String, Value>>, RecordsError> {
    ParquetFile::open(path)?.rows(columns)?.collect()
}

#[test]
fn nested_rows_come_back_as_they_were_written_over_all_row_groups() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let mut written: Vec<Value> = (0..25).map(nested).collect();
    written[3]["id"] = Value::Null;
    written[4]["answer"]["aliases"] = json!([]);
    written[5]["answer"] = Value::Null;
    write_parquet(&path, NESTED, &written, 10);
    let file = ParquetFile::open(&path).unwrap();
    assert_eq!(file.len(), 25);
    let columns = file.columns();
    assert_eq!(
        columns,
        ["id", "answer", "context", "number", "share", "sure"]
    );
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let read = rows(&path, &columns).unwrap();
    let read: Vec<Value> = read.into_iter().map(Value::Object).collect();
    assert_eq!(read, written);
}

#[test]
fn only_the_columns_asked_for_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    write_parquet(&path, NESTED, &[nested(1)], 1);
    let read = rows(&path, &["number", "id", "no such column"]).unwrap();
    let keys: Vec<&str> = read[0].keys().map(String::as_str).collect();
    assert_eq!(keys, ["id", "number"]);
}

#[test]
fn a_file_that_is_no_parquet_file_or_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let error = ParquetFile::open(&path).err().unwrap().to_string();
    assert!(error.contains("a.parquet can not be read"), "{error}");
    for bytes in [
        &b""[..],
        b"PAR1",
        b"PAR1 and some words that are no footer PAR1",
    ] {
        fs::write(&path, bytes).unwrap();
        let error = ParquetFile::open(&path).err().unwrap().to_string();
        assert!(error.contains("a.parquet is no Parquet file"), "{error}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn damage_anywhere_is_an_error_or_other_rows_and_never_a_panic(
        place in 0.0..1.0_f64,
        byte in proptest::num::u8::ANY,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        write_parquet(&path, NESTED, &(0..9).map(nested).collect::<Vec<_>>(), 4);
        let mut bytes = fs::read(&path).unwrap();
        let place = (place * bytes.len() as f64) as usize;
        bytes[place] = byte;
        fs::write(&path, bytes).unwrap();
        let _ = rows(&path, &["id", "answer", "context", "number", "share", "sure"]);
    }
}

#[test]
fn a_page_of_gzip_that_unpacks_without_end_is_refused() {
    use parquet::{
        basic::{Compression, GzipLevel},
        data_type::{ByteArray, ByteArrayType},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.parquet");
    let schema = parse_message_type("message m { required binary question (STRING); }").unwrap();
    let write = |bytes: usize| {
        let properties = WriterProperties::builder()
            .set_compression(Compression::GZIP(GzipLevel::try_new(6).unwrap()))
            .set_dictionary_enabled(false)
            .build();
        let file = fs::File::create(&path).unwrap();
        let mut writer =
            SerializedFileWriter::new(file, schema.clone().into(), properties.into()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let value = ByteArray::from(vec![b'a'; bytes]);
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&[value], None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
    };
    write(1 << 20);
    assert_eq!(rows(&path, &["question"]).unwrap().len(), 1);
    // A third of a megabyte of file.
    write(300 << 20);
    assert!(path.metadata().unwrap().len() < 1 << 20);
    let error = rows(&path, &["question"]).unwrap_err().to_string();
    assert!(
        error.contains("bomb.parquet") && error.contains("256 MiB"),
        "{error}"
    );
}
