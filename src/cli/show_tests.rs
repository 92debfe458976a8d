#![allow(clippy::unwrap_used)]

use super::*;

/// Two questions of an older shape: one answered and scored, one failed; and
/// a third that was not tried.
fn experiment() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(
        root.path().join("questions.json"),
        r#"{"questions": [{"idx": 0, "question": "Who?", "expected": ["Ann", "Anna"]},
            {"idx": 1, "question": "Where?"}, {"idx": 2, "question": "When?"}]}"#,
    )
    .unwrap();
    std::fs::write(
        root.path().join("predictions.json"),
        r#"{"predictions": [
            {"idx": 0, "prediction": "Anna", "prompt": "Passage\n\nWho?", "metrics": {"f1": 1.0},
             "retrieved": [{"id": "p7", "score": 0.5}]},
            {"idx": 1, "prediction": "[ERROR: CUDA out of memory]", "error": "CUDA out of memory",
             "failure_class": "oom"}]}"#,
    )
    .unwrap();
    root
}

fn shown(args: ShowArgs, root: &tempfile::TempDir) -> (u8, String) {
    let args = ShowArgs {
        directory: root.path().to_owned(),
        ..args
    };
    let mut out = Vec::new();
    let code = run(&args, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn a_question_is_shown_with_all_that_made_its_answer() {
    let root = experiment();
    let args = ShowArgs {
        idx: Some(0),
        ..ShowArgs::default()
    };
    let (code, text) = shown(args, &root);
    assert_eq!(code, 0);
    for part in [
        "Question 0: Who?\n",
        "    | Passage\n    | \n    | Who?\n",
        "    1. p7 (score 0.5000)\n",
        "  Gold:    Ann | Anna\n",
        "  Answer:  Anna\n",
        "  f1: 1.0\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("Where?"));
}

#[test]
fn failed_shows_what_has_no_answer_and_why() {
    let root = experiment();
    let args = ShowArgs {
        failed: true,
        ..ShowArgs::default()
    };
    let (code, text) = shown(args, &root);
    assert_eq!(code, 0);
    assert!(!text.contains("Who?"), "{text}");
    assert!(text.contains("Question 1: Where?\n"), "{text}");
    assert!(
        text.contains("  Error:   [oom] CUDA out of memory\n"),
        "{text}"
    );
    assert!(text.contains("Question 2: When?\n  Gold:    (none)\n  Answer:  (not tried yet)\n"));
}

#[test]
fn json_is_a_list_of_records() {
    let root = experiment();
    let args = ShowArgs {
        json: true,
        ..ShowArgs::default()
    };
    let value: serde_json::Value = serde_json::from_str(&shown(args, &root).1).unwrap();
    assert_eq!(value[0]["record"]["prediction"], "Anna");
    assert_eq!(value[0]["expected"][1], "Anna");
    assert_eq!(value[2]["record"], serde_json::Value::Null);
}

#[test]
fn what_is_not_there_is_a_mistake_of_usage() {
    let args = ShowArgs {
        idx: Some(3),
        ..ShowArgs::default()
    };
    assert_eq!(shown(args, &experiment()).0, 2);
    assert_eq!(
        shown(ShowArgs::default(), &tempfile::tempdir().unwrap()).0,
        2
    );
}

#[test]
fn what_a_model_answered_gives_the_terminal_no_orders() {
    let root = experiment();
    std::fs::write(
        root.path().join("predictions.json"),
        r#"{"predictions": [{"idx": 0, "prediction": "one\n\u001b]0;title\u0007two \u001b[2J", "prompt": "\u001b[1mWho?"}]}"#,
    )
    .unwrap();
    let args = ShowArgs {
        idx: Some(0),
        ..ShowArgs::default()
    };
    let (_, text) = shown(args, &root);
    assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    assert!(text.contains("one\n") && text.contains("two"), "{text:?}");
}
