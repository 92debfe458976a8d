#![allow(clippy::unwrap_used)]

use super::{ErrorsArgs, Frames, run};
use std::{fs, path::PathBuf};

fn args(paths: Vec<PathBuf>) -> ErrorsArgs {
    ErrorsArgs {
        paths,
        json: false,
        details: false,
        follow: false,
        since: None,
        class: None,
        frames: Frames::App,
        copy_report: false,
        polls: None,
    }
}

fn output(args: &ErrorsArgs) -> (u8, String) {
    let mut out = Vec::new();
    let code = run(args, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

const OOM: &str = "[2025-12-10 03:58:22] [executor] [ERROR] [Main] CUDA out of memory. Tried to allocate 20.00 GiB\n";

fn experiment(directory: &std::path::Path, name: &str) {
    let at = directory.join(name);
    fs::create_dir_all(&at).unwrap();
    fs::write(
        at.join("state.json"),
        r#"{"phase": "failed", "error": "CUDA out of memory"}"#,
    )
    .unwrap();
    fs::write(at.join("experiment.log"), OOM).unwrap();
    fs::write(
        at.join("error.log"),
        format!("Error: CUDA out of memory. Tried to allocate 20.00 GiB\n\nExperiment: {name}\nModel: hf:Qwen/Qwen2.5-7B-Instruct\nQuantization: 8bit\nBatch size: 32\nFailure class: oom\n\nTraceback:\nout of memory\n"),
    )
    .unwrap();
}

#[test]
fn an_experiment_is_explained_with_its_own_batch_size_and_model() {
    let dir = tempfile::tempdir().unwrap();
    experiment(dir.path(), "a");
    let (code, text) = output(&args(vec![dir.path().join("a")]));
    assert_eq!(code, 0);
    assert!(text.contains("oom_eval"), "{text}");
    assert!(text.contains("Lower batch_size from 32 to 16."), "{text}");
    assert!(
        text.contains("hf:Qwen/Qwen2.5-7B-Instruct with quantization 4bit instead of 8bit"),
        "{text}"
    );
}

#[test]
fn a_study_is_grouped_by_cause() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        experiment(dir.path(), name);
    }
    let (_, text) = output(&args(vec![dir.path().to_owned()]));
    assert!(text.contains("3 failed of 3 logs, 1 cause"), "{text}");
    assert!(text.contains("in 3 experiments"), "{text}");
}

#[test]
fn json_has_the_keys_of_the_contract_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x.log");
    fs::write(&log, OOM).unwrap();
    let mut args = args(vec![log]);
    args.json = true;
    let (_, text) = output(&args);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "job_id",
            "status",
            "error_summary",
            "errors",
            "traceback",
            "analysis"
        ]
    );
    assert_eq!(value["errors"][0]["timestamp"], "2025-12-10T03:58:22Z");
    assert_eq!(value["errors"][0]["phase"], "Main");
    assert!(
        value["errors"][0]["dedupe_key"]
            .as_str()
            .unwrap()
            .starts_with("main_cuda_out_of_memory_")
    );
    args.details = true;
    let (_, text) = output(&args);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["details"]["subtype"], "oom_gpu");
}

#[test]
fn a_filter_that_leaves_nothing_exits_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x.log");
    fs::write(&log, OOM).unwrap();
    let mut args = args(vec![log]);
    args.class = Some("timeout".parse().unwrap());
    assert_eq!(output(&args).0, 3);
    args.class = None;
    args.since = Some("2025-12-10T03:58:23Z".to_owned());
    assert_eq!(output(&args).0, 3);
    args.since = Some("2025-12-10".to_owned());
    assert_eq!(output(&args).0, 0);
}

#[test]
fn a_wrong_path_and_a_wrong_time_are_one_clear_sentence() {
    let mut out = Vec::new();
    let error = run(&args(vec!["no-such-thing".into()]), &mut out).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no-such-thing does not exist")
    );
    let mut wrong = args(vec!["-".into()]);
    wrong.since = Some("yesterday".to_owned());
    let error = run(&wrong, &mut out).unwrap_err();
    assert!(
        format!("{error:#}").contains("write 30m, 2h, 1d"),
        "{error:#}"
    );
}

#[test]
fn a_bug_report_masks_tokens_and_homes_and_can_not_be_broken_out_of() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x.log");
    fs::write(
        &log,
        "Traceback (most recent call last):\n  File \"/home/alice/x.py\", line 3, in f\n    ```\nValueError: HF_TOKEN=hf_abcdefghijklmnopqrstuvwx is wrong for bob@example.com\n",
    )
    .unwrap();
    let mut args = args(vec![log]);
    args.copy_report = true;
    let (_, text) = output(&args);
    assert!(
        !text.contains("hf_abc") && !text.contains("alice") && !text.contains("bob@"),
        "{text}"
    );
    assert!(text.contains("~/x.py"), "{text}");
    assert!(text.contains("````text"), "{text}");
}

#[test]
fn following_prints_what_is_already_there() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x.log");
    fs::write(&log, OOM).unwrap();
    let mut args = args(vec![log]);
    args.follow = true;
    args.polls = Some(1);
    let (_, text) = output(&args);
    assert!(
        text.contains("line 1:") && text.contains("CUDA out of memory"),
        "{text}"
    );
}

#[test]
fn control_bytes_of_a_log_do_not_reach_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x.log");
    fs::write(&log, "ValueError: a\x07b \x04 c\n").unwrap();
    let (_, text) = output(&args(vec![log]));
    assert!(!text.contains('\x07') && !text.contains('\x04'), "{text:?}");
}

#[test]
fn errors_that_a_complete_experiment_recovered_from_are_not_its_failure() {
    let dir = tempfile::tempdir().unwrap();
    experiment(dir.path(), "a");
    let at = dir.path().join("a");
    fs::remove_file(at.join("error.log")).unwrap();
    fs::write(at.join("state.json"), r#"{"phase": "complete"}"#).unwrap();
    let mut args = args(vec![at]);
    let (_, text) = output(&args);
    assert!(text.contains("complete; it met errors"), "{text}");
    args.json = true;
    let (_, text) = output(&args);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["status"], "completed");
    assert_eq!(value["errors"].as_array().unwrap().len(), 0);
    assert!(value["traceback"].is_null() && value["analysis"].is_null());
}

#[test]
fn a_binary_file_is_said_to_be_no_text_and_an_odd_log_is_read() {
    let root = tempfile::tempdir().unwrap();
    let binary = root.path().join("weights.bin");
    let bytes: Vec<u8> = (0..4096_u32).map(|i| (i * 7 % 256) as u8).collect();
    fs::write(&binary, bytes).unwrap();
    let error = run(&args(vec![binary]), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("it is no text"), "{error}");
    let log = root.path().join("odd.log");
    let mut text = b"\x1b[31mValueError: caf\xe9\x1b[0m\n  5%|#   |\r 10%|##  |\r".to_vec();
    text.extend([0; 4096]);
    fs::write(&log, text).unwrap();
    assert_eq!(output(&args(vec![log])).0, 0);
}

/// An experiment that asks a server, by what its directory says of it.
fn asked_of_a_server(at: &std::path::Path, error: &str, class: &str, log: &str) {
    fs::create_dir_all(at.join("lease")).unwrap();
    fs::write(
        at.join("lease/000002.json"),
        r#"{"host": "h", "pid": 1, "fence": 2, "acquired_at": "2025-12-10T04:10:00.5Z", "released_at": "2025-12-10T04:20:00Z"}"#,
    )
    .unwrap();
    let state = serde_json::json!({"phase": "failed", "error": error, "attempt": 2});
    fs::write(at.join("state.json"), state.to_string()).unwrap();
    fs::write(at.join("experiment.log"), log).unwrap();
    fs::write(
        at.join("error.log"),
        format!("Error: {error}\n\nExperiment: x\nModel: openai:m\nQuantization: none\nBatch size: 8\nFailure class: {class}\n\nTraceback:\n{error}\n"),
    )
    .unwrap();
}

const NO_KEY: &str = "openai:m at http://127.0.0.1:1/v1 wants a key (401 Unauthorized: Incorrect API key): set OPENAI_API_KEY";
const EARLIER: &str = "[2025-12-10 03:58:22] [serve] [ERROR] [Inference] a batch of 8 failed (transient): openai:m at http://127.0.0.1:1/v1: 500 Internal Server Error: engine dead: CUDA out of memory (5 tries)\n";

#[test]
fn after_a_resume_the_error_and_what_it_means_are_those_of_the_last_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let later = format!(
        "[2025-12-10 04:10:01] [serve] [ERROR] [Inference] a batch of 8 failed (permanent): {NO_KEY}\n"
    );
    // The worker wrote the error, or died before it could.
    for (name, log) in [
        ("told", format!("{EARLIER}{later}")),
        ("silent", EARLIER.to_owned()),
    ] {
        let at = dir.path().join(name);
        asked_of_a_server(&at, NO_KEY, "permanent", &log);
        let (_, text) = output(&args(vec![at.clone()]));
        let cause = text.lines().find(|line| line.contains("Cause")).unwrap();
        assert!(cause.contains("Cause  openai:m at"), "{name}: {text}");
        assert!(text.contains("(auth)"), "{name}: {text}");
        let mut args = args(vec![at]);
        args.copy_report = true;
        let (_, report) = output(&args);
        let headline = report.split("```").nth(1).unwrap();
        assert!(headline.contains("wants a key"), "{name}: {report}");
        assert!(report.contains("CUDA out of memory"), "{name}: {report}");
    }
}

#[test]
fn what_a_log_of_the_last_attempt_says_stays_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("a");
    let log = OOM.replace("03:58:22", "04:10:02");
    asked_of_a_server(
        &at,
        "the worker was killed by signal 9",
        "worker_died",
        &log,
    );
    let (_, text) = output(&args(vec![at]));
    let cause = text.lines().find(|line| line.contains("Cause")).unwrap();
    assert!(cause.contains("CUDA out of memory"), "{text}");
}

#[test]
fn different_errors_of_one_server_are_different_causes() {
    let dir = tempfile::tempdir().unwrap();
    let model = |name: &str, said: &str| {
        format!(
            "openai:{name} at http://10.0.0.1:8000/v1 refuses the requests (400 Bad Request: {said}): change the model or the study's generation settings"
        )
    };
    for (name, error) in [
        (
            "a",
            model(
                "gpt-4o-mini",
                "Unsupported value: 'temperature' does not support 0.0 with this model.",
            ),
        ),
        ("b", model("gpt-4o-mini", "max_tokens is too large: 256.")),
        ("c", model("gpt-4o", "max_tokens is too large: 512.")),
    ] {
        let log = format!(
            "[2025-12-10 04:10:01] [serve] [ERROR] [Inference] a batch of 3 failed (permanent): {error}\n"
        );
        asked_of_a_server(&dir.path().join(name), &error, "permanent", &log);
    }
    let (_, text) = output(&args(vec![dir.path().to_owned()]));
    assert!(text.contains("3 failed of 3 logs, 2 causes"), "{text}");
}

#[test]
fn an_experiment_whose_process_died_has_failed_in_json_too() {
    let dir = tempfile::tempdir().unwrap();
    experiment(dir.path(), "a");
    let at = dir.path().join("a");
    fs::write(at.join("state.json"), r#"{"phase": "generating"}"#).unwrap();
    fs::remove_file(at.join("error.log")).unwrap();
    let mut args = args(vec![at]);
    args.json = true;
    let value: serde_json::Value = serde_json::from_str(&output(&args).1).unwrap();
    assert_eq!(value["status"], "failed");
    assert_eq!(value["analysis"]["error_type"], "oom_eval");
    assert_eq!(value["errors"].as_array().unwrap().len(), 1);
}

#[test]
fn missing_metrics_are_told_with_their_reason() {
    let dir = tempfile::tempdir().unwrap();
    let error = "the metric llm_judge is not computed: 3 of 3 answers have no score: openai:j at http://127.0.0.1:1/v1 wants a key (401 Unauthorized: x): set OPENAI_API_KEY";
    let state = serde_json::json!({"phase": "computing_metrics", "error": error});
    fs::write(dir.path().join("state.json"), state.to_string()).unwrap();
    let mut args = args(vec![dir.path().to_owned()]);
    let (_, text) = output(&args);
    assert!(text.contains("llm_judge is not computed"), "{text}");
    assert!(text.contains("metrics of them are missing"), "{text}");
    assert!(text.contains("Set OPENAI_API_KEY"), "{text}");
    args.json = true;
    let value: serde_json::Value = serde_json::from_str(&output(&args).1).unwrap();
    assert_eq!(
        (&value["status"], &value["error_summary"]),
        (&"failed".into(), &error.into())
    );
}
