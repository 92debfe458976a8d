#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::FieldMap;
use std::{fs, path::Path};

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
    assert!(
        error.contains("mine/nq.jsonl' or 'data/nq.jsonl'"),
        "{error}"
    );
    assert!(
        error.contains("google-research-datasets/nq_open"),
        "{error}"
    );
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
        extension in proptest::sample::select(vec!["jsonl", "json", "csv", "tsv"]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("a.{extension}"));
        fs::write(&path, bytes).unwrap();
        let _ = load(&spec("x", Some(&path)), None, &SearchPaths::default());
    }
}
