#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::FieldMap;
use serde_json::{Value, json};
use std::{fs, path::Path};

#[allow(clippy::duplicate_mod, reason = "Each test module stands for itself.")]
#[path = "../../tests/support/parquet_table.rs"]
mod parquet_table;
use parquet_table::write_parquet;

fn shared(file: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let dir = std::env::var_os("RAGICAMP_SHARED_DATA").map_or(beside, PathBuf::from);
    let path = dir.join(file);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

fn spec(name: &str, path: Option<&Path>) -> DatasetSpec {
    DatasetSpec {
        name: name.into(),
        path: path.map(|path| path.to_str().unwrap().into()),
        split: None,
        revision: None,
        fields: FieldMap::default(),
        sample_seed: None,
    }
}

/// Writes `text` to `file` in a fresh directory and loads it.
fn load_text(file: &str, text: &str) -> Result<Dataset, DatasetError> {
    load_mapped(file, text, FieldMap::default())
}

fn load_mapped(file: &str, text: &str, fields: FieldMap) -> Result<Dataset, DatasetError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file);
    fs::write(&path, text).unwrap();
    let mut spec = spec("mine", Some(&path));
    spec.fields = fields;
    load(&spec, None, &SearchPaths::default())
}

fn only(dataset: Dataset) -> Question {
    assert_eq!(dataset.questions.len(), 1);
    dataset.questions.into_iter().next().unwrap()
}

#[test]
fn an_empty_list_of_answers_leaves_them_to_the_next_key() {
    for empty in ["[]", "null", "\"\"", "[\"\"]"] {
        let line = format!(r#"{{"question":"q","answers":{empty},"answer":"x"}}"#);
        let question = only(load_text("a.jsonl", &line).unwrap());
        assert_eq!(question.expected, ["x"], "{line}");
    }
    let first = r#"{"question":"q","answers":["a"],"answer":"x"}"#;
    assert_eq!(only(load_text("a.jsonl", first).unwrap()).expected, ["a"]);
    let none = r#"{"question":"q","answers":[]}"#;
    assert!(
        only(load_text("a.jsonl", none).unwrap())
            .expected
            .is_empty()
    );
}

#[test]
fn nq_open_flashrag_triviaqa_and_our_own_lines_are_read() {
    let nq = only(load_text("a.jsonl", r#"{"question":"q","answer":["a","b"]}"#).unwrap());
    assert_eq!(nq.expected, ["a", "b"]);
    let flashrag = r#"{"id":"test_7","question":"q","golden_answers":["a"],"supporting":["p1"]}"#;
    let flashrag = only(load_text("a.jsonl", flashrag).unwrap());
    assert_eq!(flashrag.id.as_deref(), Some("test_7"));
    assert_eq!(flashrag.supporting, ["p1"]);
    let trivia = r#"{"question":"q","question_id":"tc_1","answer":{"value":"A","aliases":["A","B"],"type":"x"}}"#;
    let trivia = only(load_text("a.jsonl", trivia).unwrap());
    assert_eq!(trivia.expected, ["A", "B"]);
    assert_eq!(trivia.id.as_deref(), Some("tc_1"));
    let ours = r#"{"idx":4,"query":"q","expected":["a"]}"#;
    assert_eq!(only(load_text("a.jsonl", ours).unwrap()).expected, ["a"]);
    let popqa = r#"{"id":1,"question":"q","possible_answers":"[\"a\", \"b\"]"}"#;
    assert_eq!(
        only(load_text("a.jsonl", popqa).unwrap()).expected,
        ["a", "b"]
    );
    let hub_squad = r#"{"question":"q","answers":{"text":["a","a"],"answer_start":[1,1]}}"#;
    assert_eq!(
        only(load_text("a.jsonl", hub_squad).unwrap()).expected,
        ["a"]
    );
}

#[test]
fn json_files_are_lists_squad_hotpotqa_or_lines_under_the_wrong_name() {
    let list = load_text(
        "a.json",
        r#"[{"question":"q","answer":"a"},{"question":"r"}]"#,
    )
    .unwrap();
    assert_eq!(list.questions.len(), 2);
    let squad = r#"{"version":"v2","data":[{"title":"T","paragraphs":[{"context":"c","qas":[
        {"question":"q","id":"1","answers":[{"text":"a","answer_start":0},{"text":"a","answer_start":9}]},
        {"question":"r","id":"2","answers":[],"plausible_answers":[{"text":"p"}],"is_impossible":true}
    ]}]}]}"#;
    let squad = load_text("a.json", squad).unwrap();
    assert_eq!(squad.questions[0].expected, ["a"]);
    assert!(squad.questions[1].expected.is_empty());
    assert_eq!(squad.without_answers, 1);
    let hotpot = r#"[{"_id":"5a","question":"q","answer":"yes",
        "supporting_facts":[["T1",0],["T2",1],["T1",3]],"context":[["T1",["s"]]]}]"#;
    let hotpot = only(load_text("a.json", hotpot).unwrap());
    assert_eq!(hotpot.supporting, ["T1", "T2"]);
    let lines = load_text("a.json", "{\"question\":\"q\"}\n{\"question\":\"r\"}\n").unwrap();
    assert_eq!(lines.questions.len(), 2);
    let trivia =
        r#"{"Data":[{"Question":"q","QuestionId":"t","Answer":{"Value":"A","Aliases":["B"]}}]}"#;
    let trivia = only(load_text("a.json", trivia).unwrap());
    assert_eq!(
        (trivia.id.as_deref(), trivia.expected.len()),
        (Some("t"), 2)
    );
}

#[test]
fn a_question_has_passages_of_its_own_only_where_their_key_is_named() {
    let mapped = |file: &str, text: &str, key: &str| {
        let fields = FieldMap {
            context: Some(key.into()),
            ..FieldMap::default()
        };
        load_mapped(file, text, fields)
    };
    let contexts =
        |file: &str, text: &str, key: &str| only(mapped(file, text, key).unwrap()).context;
    let line = r#"{"question":"q","context":"c"}"#;
    assert_eq!(contexts("a.jsonl", line, "context"), ["c"]);
    assert!(only(load_text("a.jsonl", line).unwrap()).context.is_empty());
    let listed = r#"{"question":"q","contexts":[{"filename":"f","text":"one"},"two","","two"]}"#;
    assert_eq!(contexts("a.jsonl", listed, "contexts"), ["one", "two"]);
    let hotpot =
        r#"{"question":"q","context":{"title":["T","U"],"sentences":[["a.","b."],["c."]]}}"#;
    assert_eq!(
        contexts("a.jsonl", hotpot, "context.sentences"),
        ["a. b.", "c."]
    );
    let cells = "question,context\nq,\"[\"\"one\"\", \"\"two\"\"]\"\n";
    assert_eq!(contexts("a.csv", cells, "context"), ["one", "two"]);
    let squad = r#"{"data":[{"paragraphs":[{"context":"c","qas":[{"question":"q"}]}]}]}"#;
    assert_eq!(contexts("a.json", squad, "context"), ["c"]);
    let error = mapped("a.jsonl", line, "passage").unwrap_err().to_string();
    assert!(
        error.contains("no key 'passage' (`fields.context`)"),
        "{error}"
    );
}

#[test]
fn csv_cells_may_hold_commas_line_breaks_and_lists() {
    let text = "id,question,answers\n1,\"who, \n and why?\",\"[\"\"a\"\", \"\"b\"\"]\"\n2,what,c\n";
    let dataset = load_text("a.csv", text).unwrap();
    assert_eq!(dataset.questions[0].question, "who, \n and why?");
    assert_eq!(dataset.questions[0].expected, ["a", "b"]);
    assert_eq!(dataset.questions[1].expected, ["c"]);
    let error = load_text("a.csv", "question,answer\na,b\nc\n")
        .unwrap_err()
        .to_string();
    assert!(error.contains("a.csv:3: 1 cells"), "{error}");
}

#[test]
fn mapped_fields_win_over_the_usual_names_and_may_be_paths() {
    let fields = FieldMap {
        question: Some("title".into()),
        answers: Some("meta.answer".into()),
        id: Some("nr".into()),
        supporting: None,
        context: None,
    };
    let text = r#"{"question":"no","title":"yes","meta":{"answer":["a"]},"nr":7}"#;
    let question = only(load_mapped("a.jsonl", text, fields.clone()).unwrap());
    assert_eq!(question.question, "yes");
    assert_eq!(question.expected, ["a"]);
    assert_eq!(question.id.as_deref(), Some("7"));
    let error = load_mapped("a.jsonl", "{\"title\":\"x\",\"nr\":1}", fields)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a.jsonl:1: no key 'meta.answer' (`fields.answers`); keys there: title, nr"),
        "{error}"
    );
}

#[test]
fn an_empty_question_is_left_out_and_said() {
    let text = "{\"question\":\"a\"}\n{\"question\":\"  \"}\n\n{\"question\":null}\n{\"question\":\"b\"}\n";
    let dataset = load_text("a.jsonl", text).unwrap();
    let kept: Vec<(usize, &str)> = dataset
        .questions
        .iter()
        .map(|question| (question.idx, question.question.as_str()))
        .collect();
    assert_eq!(kept, [(0, "a"), (1, "b")]);
    assert_eq!(dataset.skipped_empty, 2);
    let warnings = dataset.warnings(Some(5));
    assert!(warnings[0].contains("2 empty questions are left out"));
    assert!(warnings[1].contains("2 of 2 questions have no gold answer"));
    assert!(warnings[2].contains("only 2 of the 5"));
}

/// What stands in a column of texts that may be missing.
const TEXTS: &str = "(LIST) { repeated group list { optional binary element (STRING); } }";

/// The published schemas, each with a row of its kind, and what it is to come to:
/// question, answers, id, supporting.
#[allow(clippy::type_complexity, reason = "A table is read where it stands.")]
fn published() -> Vec<(
    &'static str,
    String,
    Value,
    (&'static str, Vec<&'static str>, Value, Vec<&'static str>),
)> {
    let text = |name: &str| format!("optional binary {name} (STRING);");
    let texts = |name: &str| format!("optional group {name} {TEXTS}");
    let numbers = |name: &str| {
        format!(
            "optional group {name} (LIST) {{ repeated group list {{ optional int32 element; }} }}"
        )
    };
    let lists = |name: &str| {
        format!(
            "optional group {name} (LIST) {{ repeated group list {{ optional group element {TEXTS} }} }}"
        )
    };
    let group =
        |name: &str, inner: &[String]| format!("optional group {name} {{ {} }}", inner.join(" "));
    let schema = |columns: &[String]| format!("message schema {{ {} }}", columns.join(" "));
    vec![
        (
            "nq",
            schema(&[text("question"), texts("answer")]),
            json!({"question": "when was the last time", "answer": ["2015", "two thousand fifteen"]}),
            (
                "when was the last time",
                vec!["2015", "two thousand fifteen"],
                Value::Null,
                vec![],
            ),
        ),
        (
            "triviaqa",
            schema(&[
                text("question"),
                text("question_id"),
                text("question_source"),
                group("entity_pages", &[texts("doc_source"), texts("title")]),
                group(
                    "answer",
                    &[
                        texts("aliases"),
                        texts("normalized_aliases"),
                        text("matched_wiki_entity_name"),
                        text("normalized_value"),
                        text("type"),
                        text("value"),
                    ],
                ),
            ]),
            json!({"question": "Which planet?", "question_id": "tc_2", "question_source": "http://x",
                "entity_pages": {"doc_source": [], "title": []},
                "answer": {"aliases": ["Mars", "The red planet"], "normalized_aliases": ["mars"],
                    "matched_wiki_entity_name": "", "normalized_value": "mars", "type": "WikipediaEntity", "value": "Mars"}}),
            (
                "Which planet?",
                vec!["Mars", "The red planet"],
                json!("tc_2"),
                vec![],
            ),
        ),
        (
            "hotpotqa",
            schema(&[
                text("id"),
                text("question"),
                text("answer"),
                text("type"),
                text("level"),
                group("supporting_facts", &[texts("title"), numbers("sent_id")]),
                group("context", &[texts("title"), lists("sentences")]),
            ]),
            json!({"id": "5a8b", "question": "Were they of one nationality?", "answer": "yes",
                "type": "comparison", "level": "hard",
                "supporting_facts": {"title": ["Scott", "Ed Wood", "Scott"], "sent_id": [0, 0, 1]},
                "context": {"title": ["Scott", "Ed Wood"], "sentences": [["One.", "Two."], ["Three."]]}}),
            (
                "Were they of one nationality?",
                vec!["yes"],
                json!("5a8b"),
                vec!["Scott", "Ed Wood"],
            ),
        ),
        (
            "squad",
            schema(&[
                text("id"),
                text("title"),
                text("context"),
                text("question"),
                group("answers", &[texts("text"), numbers("answer_start")]),
            ]),
            json!({"id": "56be", "title": "Super_Bowl_50", "context": "A game.", "question": "Which team?",
                "answers": {"text": ["Denver Broncos", "Denver Broncos", "Denver"], "answer_start": [177, 177, 177]}}),
            (
                "Which team?",
                vec!["Denver Broncos", "Denver"],
                json!("56be"),
                vec![],
            ),
        ),
        (
            "pubmedqa",
            schema(&[
                "optional int32 pubid;".to_owned(),
                text("question"),
                group(
                    "context",
                    &[texts("contexts"), texts("labels"), texts("meshes")],
                ),
                text("long_answer"),
                text("final_decision"),
            ]),
            json!({"pubid": 21645374, "question": "Do mitochondria play a role?",
                "context": {"contexts": ["Programmed cell death."], "labels": ["BACKGROUND"], "meshes": []},
                "long_answer": "Results depicted.", "final_decision": "yes"}),
            (
                "Do mitochondria play a role?",
                vec!["yes"],
                json!("21645374"),
                vec![],
            ),
        ),
        (
            "popqa",
            schema(&[
                "optional int64 id;".to_owned(),
                text("subj"),
                text("question"),
                text("possible_answers"),
            ]),
            json!({"id": 4222362, "subj": "George", "question": "What is George's occupation?",
                "possible_answers": "[\"politician\", \"pol\"]"}),
            (
                "What is George's occupation?",
                vec!["politician", "pol"],
                json!("4222362"),
                vec![],
            ),
        ),
    ]
}

#[test]
fn the_published_parquet_files_are_read_with_their_real_schemas() {
    for (name, schema, row, (question, answers, id, supporting)) in published() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data").join(format!("{name}.parquet"));
        write_parquet(&path, &schema, &[row], 1);
        let search = SearchPaths::new(vec![dir.path().into()]);
        let found = only(load(&spec(name, None), None, &search).unwrap());
        assert_eq!(found.question, question, "{name}");
        assert_eq!(found.expected, answers, "{name}");
        assert_eq!(json!(found.id), id, "{name}");
        assert_eq!(found.supporting, supporting, "{name}");
    }
}

#[test]
fn techqa_and_popqa_are_read_as_their_repositories_hold_them() {
    let techqa = r#"[{"id":"TRAIN_Q000","question":"Why?","answer":"Because.","is_impossible":false,
        "contexts":[{"filename":"swg1.txt","text":"Because."}]},
        {"id":"TRAIN_Q001","question":"How?","answer":"","is_impossible":true,"contexts":[]}]"#;
    let techqa = load_text("train.json", techqa).unwrap();
    assert_eq!(techqa.questions[0].expected, ["Because."]);
    assert_eq!(techqa.without_answers, 1);
    let popqa =
        "id\tsubj\tquestion\tpossible_answers\n7\tX\tWhat is X?\t\"[\"\"a\"\", \"\"b\"\"]\"\n";
    let popqa = only(load_text("test.tsv", popqa).unwrap());
    assert_eq!(popqa.expected, ["a", "b"]);
    assert_eq!(popqa.id.as_deref(), Some("7"));
}

const MINE: &str = "message schema {
    optional int64 nr;
    optional binary prompt (STRING);
    optional group gold { optional binary best (STRING); }
    optional group proof (LIST) { repeated group list {
        optional group element { optional binary doc (STRING); optional int32 line; }
    } }
    optional binary blob (STRING);
}";

#[test]
fn fields_lead_into_nested_columns_of_a_parquet_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let row = |nr: i64, gold: Value| {
        json!({"nr": nr, "prompt": format!("q{nr}"), "gold": gold,
            "proof": [{"doc": "d1", "line": 3}, {"doc": "d2", "line": 4}], "blob": "x"})
    };
    let rows = [row(1, json!({"best": "a"})), row(2, Value::Null)];
    write_parquet(&path, MINE, &rows, 1);
    let mut spec = spec("mine", Some(&path));
    spec.fields = FieldMap {
        question: Some("prompt".into()),
        answers: Some("gold.best".into()),
        id: Some("nr".into()),
        supporting: Some("proof.doc".into()),
        context: None,
    };
    let dataset = load(&spec, None, &SearchPaths::default()).unwrap();
    assert_eq!(dataset.questions[0].expected, ["a"]);
    assert_eq!(dataset.questions[0].supporting, ["d1", "d2"]);
    assert_eq!(dataset.questions[1].id.as_deref(), Some("2"));
    assert_eq!(dataset.without_answers, 1);

    spec.fields.answers = Some("golden.best".into());
    let error = load(&spec, None, &SearchPaths::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no column 'golden.best' (`fields.answers`); columns there: nr, prompt, gold, proof, blob"),
        "{error}"
    );
    spec.fields = FieldMap::default();
    let error = load(&spec, None, &SearchPaths::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("no column for the question"), "{error}");
}

const QUESTIONS: &str = "message schema {
    optional binary question (STRING);
    optional group answer (LIST) { repeated group list { optional binary element (STRING); } }
}";

#[test]
fn the_rules_hold_for_parquet_as_for_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let long = "why ".repeat(25_000);
    let rows = [
        json!({"question": "same", "answer": ["a"]}),
        json!({"question": "  ", "answer": ["a"]}),
        json!({"question": null, "answer": null}),
        json!({"question": "same", "answer": []}),
        json!({"question": long, "answer": null}),
    ];
    write_parquet(&path, QUESTIONS, &rows, 2);
    let dataset = load(&spec("mine", Some(&path)), None, &SearchPaths::default()).unwrap();
    let lengths: Vec<usize> = dataset.questions.iter().map(|q| q.question.len()).collect();
    assert_eq!(lengths, [4, 4, 100_000]);
    let counts = (
        dataset.skipped_empty,
        dataset.without_answers,
        dataset.repeated,
    );
    assert_eq!(counts, (2, 2, 1));
    let warnings = dataset.warnings(None).join("\n");
    assert!(
        warnings.contains("1 of 3 questions repeat an earlier one"),
        "{warnings}"
    );
}

#[test]
fn a_sample_is_the_same_whatever_the_format_and_order_and_grows_by_addition() {
    let dir = tempfile::tempdir().unwrap();
    let lines = dir.path().join("a.jsonl");
    let table = dir.path().join("b.parquet");
    let rows: Vec<Value> = (0..200)
        .map(|i| json!({"question": format!("question {i}"), "answer": [i.to_string()]}))
        .collect();
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(&lines, text).unwrap();
    let reversed: Vec<Value> = rows.into_iter().rev().collect();
    write_parquet(&table, QUESTIONS, &reversed, 64);
    let drawn = |path: &Path, number: usize, seed: u64| {
        let mut spec = spec("mine", Some(path));
        spec.sample_seed = Some(seed);
        load(&spec, Some(number), &SearchPaths::default())
            .unwrap()
            .questions
    };
    let ten = drawn(&lines, 10, 7);
    assert_eq!(ten, drawn(&table, 10, 7));
    assert_eq!(ten[..], drawn(&lines, 50, 7)[..10]);
    assert_ne!(ten, drawn(&lines, 10, 8));
    let indices: Vec<usize> = ten.iter().map(|question| question.idx).collect();
    assert_eq!(indices, (0..10).collect::<Vec<_>>());
    // It is no start of the file in disguise.
    let later = ten
        .iter()
        .filter(|q| q.expected[0].parse::<u32>().unwrap() >= 100);
    assert!((1..10).contains(&later.count()));
}

#[test]
fn equal_questions_stay_and_differ_in_idx() {
    let dataset = load_text("a.jsonl", &"{\"question\":\"same\"}\n".repeat(3)).unwrap();
    let indices: Vec<usize> = dataset
        .questions
        .iter()
        .map(|question| question.idx)
        .collect();
    assert_eq!(indices, [0, 1, 2]);
}

#[test]
fn a_question_of_100_kilobytes_stays_whole() {
    let long = "why ".repeat(25_000);
    let dataset = load_text("a.jsonl", &format!("{{\"question\":\"{long}\"}}")).unwrap();
    assert_eq!(only(dataset).question.len(), 100_000);
}

#[test]
fn more_questions_later_extend_the_list_and_never_reorder_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    let lines: String = (0..50)
        .map(|i| {
            format!(
                "{{\"question\":\"{}\"}}\n",
                if i % 7 == 0 {
                    String::new()
                } else {
                    i.to_string()
                }
            )
        })
        .collect();
    fs::write(&path, lines).unwrap();
    let spec = spec("mine", Some(&path));
    let search = SearchPaths::default();
    let ten = load(&spec, Some(10), &search).unwrap();
    let thirty = load(&spec, Some(30), &search).unwrap();
    assert_eq!(ten.questions.len(), 10);
    assert_eq!(ten.questions[..], thirty.questions[..10]);
    assert_eq!(ten.checksum, thirty.checksum);
    // A fault behind what is used costs nothing.
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{broken");
    fs::write(&path, text).unwrap();
    let again = load(&spec, Some(10), &search).unwrap();
    assert_eq!(again.questions, ten.questions);
    assert_ne!(again.checksum, ten.checksum);
    assert!(load(&spec, None, &search).is_err());
}

#[test]
fn a_line_that_is_no_json_is_named_with_file_and_line() {
    let error = load_text("a.jsonl", "{\"question\":\"a\"}\n\n{\"question\": \n").unwrap_err();
    assert!(
        error.to_string().contains("a.jsonl:3: not valid JSON"),
        "{error}"
    );
    let error = load_text("a.jsonl", "[1]\n").unwrap_err();
    assert!(
        error.to_string().contains("a.jsonl:1: a JSON object"),
        "{error}"
    );
    let error = load_text("a.jsonl", "{\"title\":\"x\"}")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a.jsonl:1: no key for the question"),
        "{error}"
    );
    let error = load_text("a.json", "[\n{\"question\":\"x\"},\n]")
        .unwrap_err()
        .to_string();
    assert!(error.contains("a.json:3: not valid JSON"), "{error}");
    let error = load_text("a.json", "[{\"question\":[1]}]")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a.json:item 1: 'question' holds a list"),
        "{error}"
    );
}

#[test]
fn files_without_questions_and_of_other_kinds_are_refused() {
    for (file, text) in [
        ("a.jsonl", ""),
        ("a.json", ""),
        ("a.json", "[]"),
        ("a.csv", ""),
    ] {
        let error = load_text(file, text).unwrap_err();
        assert!(
            matches!(error, DatasetError::Empty { .. }),
            "{file} {error}"
        );
    }
    let error = load_text("a.parquet", "PAR1").unwrap_err().to_string();
    assert!(error.contains("a.parquet is no Parquet file"), "{error}");
    let error = load_text("a.jsonl.gz", "").unwrap_err().to_string();
    assert!(error.contains("give it as JSONL"), "{error}");
}

#[test]
fn the_checksum_is_that_of_sha256sum() {
    let dataset = load_text("a.jsonl", "{\"question\":\"q\"}\n").unwrap();
    assert_eq!(
        dataset.checksum,
        "2c647ba5e458c2e657dbd2b9281cef46c2f9127bfc8cde6b83568791730bb585"
    );
}

#[test]
fn a_known_name_finds_its_local_copy_or_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let search = SearchPaths {
        bases: vec![dir.path().join("nowhere"), dir.path().into()],
        data: Some(dir.path().join("mine")),
    };
    let error = load(&spec("nq", None), None, &search)
        .unwrap_err()
        .to_string();
    assert!(error.contains("mine/nq.jsonl'"), "{error}");
    assert!(
        error.contains("google-research-datasets/nq_open"),
        "{error}"
    );
    assert!(error.contains("nq_open/validation*"), "{error}");
    assert!(error.contains("ragicamp fetch"), "{error}");
    assert!(!error.contains('\n'));

    let below = dir.path().join("conf/data/nq");
    fs::create_dir_all(&below).unwrap();
    fs::write(below.join("validation.jsonl"), "{\"question\":\"q\"}").unwrap();
    assert!(load(&spec("nq", None), None, &search).is_ok());
    // The user's own directory comes first.
    fs::create_dir_all(dir.path().join("mine")).unwrap();
    fs::write(dir.path().join("mine/nq.csv"), "question\nmine\n").unwrap();
    let mine = load(&spec("nq", None), None, &search).unwrap();
    assert_eq!(only(mine).question, "mine");

    let error = load(&spec("nqq", None), None, &search)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("neither a known name (nq, triviaqa"),
        "{error}"
    );
}

#[test]
fn a_relative_path_is_found_below_the_first_base_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let bases: Vec<PathBuf> = ["near", "far"].map(|base| dir.path().join(base)).into();
    let search = SearchPaths::new(bases.clone());
    let relative = spec("mine", Some(Path::new("q.jsonl")));
    let error = load(&relative, None, &search).unwrap_err().to_string();
    assert!(error.contains("near/q.jsonl' or '"), "{error}");
    for base in bases.iter().rev() {
        let word = base.file_name().unwrap().to_str().unwrap();
        fs::create_dir_all(base).unwrap();
        fs::write(base.join("q.jsonl"), format!("{{\"question\":\"{word}\"}}")).unwrap();
        let dataset = load(&relative, None, &search).unwrap();
        assert_eq!(only(dataset).question, word);
    }
}

#[test]
fn the_published_files_are_read_whole() {
    for (file, count, without) in [
        ("nq_open/NQ-open.dev.jsonl", 3_610, 0),
        ("squad/cs224n-dev-v2.0.json", 6_078, 3_168),
        ("squad_dev11_retrieval/queries.jsonl", 10_570, 5_720),
        ("flashrag_format/popqa.test.jsonl", 1_000, 0),
        ("flashrag_format/triviaqa.test.jsonl", 1_000, 0),
        ("hotpotqa/hotpot_dev_distractor_subset.json", 100, 0),
    ] {
        let Some(path) = shared(file) else { continue };
        let dataset = load(&spec("x", Some(&path)), None, &SearchPaths::default()).unwrap();
        assert_eq!(dataset.questions.len(), count, "{file}");
        assert_eq!(dataset.without_answers, without, "{file}");
        assert_eq!(dataset.skipped_empty, 0, "{file}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_whatever_make_it_panic(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        extension in proptest::sample::select(vec!["jsonl", "json", "csv", "tsv", "parquet"]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("a.{extension}"));
        fs::write(&path, bytes).unwrap();
        let _ = load(&spec("x", Some(&path)), None, &SearchPaths::default());
    }
}
