//! The HTTP API, asked of the real program over a real socket.
#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used)]

mod description;
mod jobs;
mod limits;

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PYTHON: &str = "\
[2025-12-10 03:58:20] [loader] [INFO] [Main] loading
[2025-12-10 03:58:22] [__main__] [ERROR] [Main] Evaluation failed
Traceback (most recent call last):
  File \"/app/eval.py\", line 12, in main
    answer(batch)
  File \"/app/model.py\", line 80, in answer
    out = self.model.generate(ids)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
";

/// A directory of studies, and the program that serves it.
struct Served {
    root: tempfile::TempDir,
    child: Child,
    address: SocketAddr,
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ragicamp"));
    for name in [
        "RAGICAMP_BIND",
        "RAGICAMP_TOKEN_FILE",
        "RAGICAMP_ALLOW_HOST",
    ] {
        command.env_remove(name);
    }
    command
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn state(phase: &str, answered: usize, more: Value) -> String {
    let mut state = json!({
        "phase": phase, "error": null, "predictions_complete": answered, "total_questions": 4,
        "started_at": "2025-12-10T03:58:00Z", "updated_at": "2025-12-10T03:58:30Z",
        "metrics_requested": ["exact_match"], "metrics_computed": [], "attempt": 1,
        "interrupted": false,
    });
    state
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    state.to_string()
}

/// Two studies with experiments that are failed, complete, interrupted and
/// left by a process that died; and a training job.
fn fill(root: &Path) {
    write(root, "one/study.yaml", "name: one\n");
    write(root, "one/events.jsonl", "");
    let predictions: Vec<Value> = (0..4)
        .map(|idx| {
            let lost = idx == 3;
            json!({
                "idx": idx, "question": format!("What is {idx}?"), "expected": ["x"],
                "prediction": if lost { "[ERROR: out of memory]" } else { "x" },
                "error": if lost { json!("out of memory") } else { Value::Null },
            })
        })
        .collect();
    let predictions =
        json!({"experiment": "broken", "predictions": predictions, "aggregate_metrics": {}});
    write(
        root,
        "one/broken/state.json",
        &state("failed", 3, json!({"error": "CUDA out of memory"})),
    );
    write(
        root,
        "one/broken/predictions.json",
        &predictions.to_string(),
    );
    write(root, "one/broken/experiment.log", PYTHON);
    write(
        root,
        "one/broken/error.log",
        "Error: CUDA out of memory\n\nExperiment: broken\nModel: hf:a/b\nQuantization: 8bit\nBatch size: 32\nFailure class: oom\n\nTraceback:\nout of memory\n",
    );
    let whole = predictions
        .to_string()
        .replace("[ERROR: out of memory]", "x");
    let whole = whole.replace("\"error\":\"out of memory\"", "\"error\":null");
    write(root, "one/well/predictions.json", &whole);
    write(
        root,
        "one/well/results.json",
        &json!({"name": "well", "metrics": {"exact_match": 0.5}, "num_examples": 4}).to_string(),
    );
    write(
        root,
        "one/well/state.json",
        &state("complete", 4, json!({"metrics_computed": ["exact_match"]})),
    );
    write(
        root,
        "one/well/experiment.log",
        "[2025-12-10 03:58:22] [m] [ERROR] [Main] recovered from this\n",
    );
    write(
        root,
        "one/stopped/state.json",
        &state("generating", 2, json!({"interrupted": true})),
    );
    write(root, "two/study.yaml", "name: two\n");
    write(root, "two/well/state.json", &state("init", 0, json!({})));
    write(root, "logs/job_17.log", PYTHON);
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fill(root.path());
        Self::over(root, arguments)
    }

    fn over(root: tempfile::TempDir, arguments: &[&str]) -> Self {
        let mut child = command()
            .arg("serve")
            .arg(root.path())
            .env("RAGICAMP_BIND", "127.0.0.1:0")
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("{line}"));
        Self {
            root,
            child,
            address: address.parse().unwrap(),
        }
    }

    fn raw(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn send(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host = if headers.to_lowercase().contains("host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        let mut stream = self.raw(&format!(
            "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n"
        ));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        Answer {
            status: status.parse().unwrap(),
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "")
    }

    fn ok(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    fn end(mut self) -> Option<i32> {
        Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file with its bytes.
fn tree(root: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tree(&path, into);
        } else {
            into.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

#[test]
fn a_failed_experiment_answers_in_the_shape_that_consumers_read() {
    let served = Served::start(&[]);
    let answer = served.get("/api/training/one%2Fbroken/errors");
    assert_eq!(answer.status, 200);
    let value = answer.json();
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(
        keys(&value),
        [
            "job_id",
            "status",
            "error_summary",
            "errors",
            "traceback",
            "analysis"
        ]
    );
    assert_eq!(value["job_id"], "one/broken");
    assert_eq!(value["status"], "failed");
    assert_eq!(value["error_summary"], "CUDA out of memory");
    assert_eq!(
        keys(&value["errors"][0]),
        [
            "timestamp",
            "level",
            "phase",
            "message",
            "dedupe_key",
            "count"
        ]
    );
    assert_eq!(value["errors"][0]["timestamp"], "2025-12-10T03:58:22Z");
    assert_eq!(
        keys(&value["traceback"]),
        ["raw", "frames", "exception_type", "exception_message"]
    );
    assert_eq!(
        value["traceback"]["exception_type"],
        "torch.OutOfMemoryError"
    );
    let frame = &value["traceback"]["frames"][1];
    assert_eq!(keys(frame), ["file", "line", "function", "code"]);
    assert_eq!(
        frame,
        &json!({"file": "/app/model.py", "line": 80, "function": "answer", "code": "out = self.model.generate(ids)"})
    );
    assert_eq!(
        keys(&value["analysis"]),
        [
            "error_type",
            "error_phase",
            "description",
            "confidence",
            "suggestions"
        ]
    );
    assert_eq!(value["analysis"]["error_type"], "oom_eval");
    assert_eq!(value["analysis"]["error_phase"], "evaluation");
    let advice = value["analysis"]["suggestions"].to_string();
    assert!(
        advice.contains("32"),
        "it names this study's batch size: {advice}"
    );
    // By its name alone, and by the other path.
    for path in [
        "/api/training/broken/errors",
        "/api/training/local/one%2Fbroken/errors",
    ] {
        assert_eq!(served.ok(path)["analysis"], value["analysis"], "{path}");
    }
}

#[test]
fn jobs_that_have_not_failed_and_plain_jobs_answer_too() {
    let served = Served::start(&[]);
    let well = served.ok("/api/training/one%2Fwell/errors");
    assert_eq!(
        well,
        json!({"job_id": "one/well", "status": "completed", "error_summary": null, "errors": [], "traceback": null, "analysis": null})
    );
    assert_eq!(
        served.ok("/api/training/stopped/errors")["status"],
        "cancelled"
    );
    // Nobody owns it and nothing ended it: its process died.
    assert_eq!(
        served.ok("/api/training/two%2Fwell/errors")["status"],
        "failed"
    );
    let job = served.ok("/api/training/17/errors");
    assert_eq!(job["job_id"], "17");
    assert_eq!(job["status"], "failed");
    assert_eq!(
        job["analysis"]["error_type"]
            .as_str()
            .unwrap()
            .split('_')
            .next(),
        Some("oom")
    );
    let unknown = served.get("/api/training/nobody/errors");
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.headers["content-type"], "application/problem+json");
    assert_eq!(unknown.json()["status"], 404);
    let several = served.get("/api/training/well/errors");
    assert_eq!(several.status, 404);
    assert!(several.body.contains("one/well") && several.body.contains("two/well"));
}

#[test]
fn a_log_that_grows_is_told_as_it_is_now() {
    let served = Served::start(&[]);
    let count = || served.ok("/api/training/17/errors")["errors"][0]["count"].clone();
    assert_eq!(count(), 1);
    let log = served.root.path().join("logs/job_17.log");
    fs::write(&log, PYTHON.repeat(3)).unwrap();
    assert_eq!(count(), 3);
    fs::write(&log, "INFO begun anew\n").unwrap();
    assert_eq!(served.ok("/api/training/17/errors")["errors"], json!([]));
}

#[test]
fn studies_and_experiments_are_listed_paged_filtered_and_sorted() {
    let served = Served::start(&[]);
    let studies = served.ok("/api/studies");
    let ids: Vec<_> = studies["studies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|study| study["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["one", "two"]);
    assert_eq!(studies["studies"][0]["counts"]["failed"], 1);
    let one = served.ok("/api/studies/one");
    assert_eq!(one["causes"][0]["error_type"], "oom_eval");
    assert_eq!(one["causes"][0]["experiments"], json!(["broken"]));

    let names = |query: &str| -> Vec<String> {
        served.ok(&format!("/api/studies/one/experiments{query}"))["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(""), ["broken", "stopped", "well"]);
    assert_eq!(names("?phase=failed"), ["broken"]);
    assert_eq!(names("?phase=interrupted"), ["stopped"]);
    assert_eq!(names("?q=WEL"), ["well"]);
    assert_eq!(
        names("?sort=progress&order=desc"),
        ["well", "broken", "stopped"]
    );
    assert_eq!(names("?per_page=2&page=2"), ["well"]);
    assert_eq!(
        served.ok("/api/studies/one/experiments?per_page=2")["total"],
        3
    );
    for wrong in [
        "?page=0",
        "?per_page=100000",
        "?sort=colour",
        "?order=up",
        "?page=x",
        "?pages=2",
    ] {
        let answer = served.get(&format!("/api/studies/one/experiments{wrong}"));
        assert_eq!(answer.status, 400, "{wrong}");
    }
    // A key that nobody reads is a slip, not a wish.
    for wrong in ["/api/studies?limit=3", "/api/studies/one?q=x"] {
        assert_eq!(served.get(wrong).status, 400, "{wrong}");
    }
    let well = served.ok("/api/experiments/one%2Fwell");
    assert_eq!(well["metrics"]["exact_match"], 0.5);
    assert_eq!(well["state"]["phase"], "complete");
}

#[test]
fn predictions_and_log_windows_are_parts() {
    let served = Served::start(&[]);
    let failed = served.ok("/api/experiments/one%2Fbroken/predictions?failed=true");
    assert_eq!(failed["total"], 1);
    assert_eq!(failed["items"][0]["error"], "out of memory");
    let second = served.ok("/api/experiments/one%2Fbroken/predictions?per_page=2&page=2");
    assert_eq!(second["items"][0]["idx"], 2);
    assert_eq!(second["total"], 4);

    let log: String = (1..=2000)
        .map(|n| format!("line {n} of the log\n"))
        .collect();
    write(served.root.path(), "one/broken/experiment.log", &log);
    let window = |query: &str| served.ok(&format!("/api/experiments/broken/log{query}"));
    let around = window("?line=1500&length=200");
    let text = around["text"].as_str().unwrap();
    assert!(text.contains("line 1500 of") && text.len() <= 200, "{text}");
    let first = around["first_line"].as_u64().unwrap();
    assert!(
        text.starts_with(&format!("line {first} of the log\n")),
        "{text}"
    );
    let end = window("?from=-100");
    assert_eq!(end["to"], end["size"]);
    assert!(
        end["text"]
            .as_str()
            .unwrap()
            .ends_with("line 2000 of the log\n")
    );
    // Windows laid end to end are the file.
    let (mut whole, mut from) = (String::new(), 0);
    while from < log.len() as u64 {
        let part = window(&format!("?from={from}&length=10000"));
        assert_eq!(part["from"], from);
        whole.push_str(part["text"].as_str().unwrap());
        from = part["to"].as_u64().unwrap();
    }
    assert!(whole == log);
    assert_eq!(
        served
            .get("/api/experiments/broken/log?file=state.json")
            .status,
        400
    );
    assert_eq!(served.get("/api/experiments/stopped/log").status, 404);
}

#[test]
fn no_path_leads_out_of_the_directory() {
    let outside = tempfile::tempdir().unwrap();
    write(
        outside.path(),
        "study/secret/state.json",
        &state("failed", 0, json!({"error": "SECRET"})),
    );
    write(outside.path(), "study/study.yaml", "name: study\n");
    write(outside.path(), "job_9.log", "ERROR SECRET\n");
    write(outside.path(), "data.json", "{\"spec\": \"SECRET\"}");
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    symlink(outside.path().join("study"), root.path().join("away")).unwrap();
    symlink(
        outside.path().join("study/secret"),
        root.path().join("one/secret"),
    )
    .unwrap();
    symlink(
        outside.path().join("job_9.log"),
        root.path().join("logs/job_9.log"),
    )
    .unwrap();
    symlink(
        outside.path().join("job_9.log"),
        root.path().join("one/stopped/experiment.log"),
    )
    .unwrap();
    for file in ["metadata.json", "results.json", "predictions.json"] {
        let link = root.path().join("one/stopped").join(file);
        symlink(outside.path().join("data.json"), link).unwrap();
    }
    write(root.path(), "one/lent/metadata.json", "{}");
    symlink(
        outside.path().join("study/secret/state.json"),
        root.path().join("one/lent/state.json"),
    )
    .unwrap();
    let served = Served::over(root, &[]);
    // What is inside is told without what links bring in.
    for path in [
        "/api/experiments/one%2Fstopped",
        "/api/experiments/one%2Fstopped/errors",
        "/api/experiments/one%2Fstopped/report",
        "/api/studies/one",
        "/api/studies/one/experiments",
    ] {
        let answer = served.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(!answer.body.contains("SECRET"), "{path}: {}", answer.body);
    }
    let out = outside.path().display().to_string().replace('/', "%2F");
    for path in [
        "/api/studies/..".to_owned(),
        "/api/studies/%2e%2e".to_owned(),
        "/api/studies/..%2F..%2Fetc".to_owned(),
        "/api/studies/away".to_owned(),
        format!("/api/studies/{out}%2Fstudy"),
        "/api/experiments/away%2Fsecret".to_owned(),
        "/api/experiments/one%2Fsecret".to_owned(),
        "/api/experiments/one%2F..%2Ftwo%2Fwell".to_owned(),
        "/api/experiments/one%2Fstopped/log".to_owned(),
        "/api/experiments/one%2Fstopped/predictions".to_owned(),
        "/api/training/9/errors".to_owned(),
        "/api/training/..%2F..%2Fetc%2Fpasswd/errors".to_owned(),
        "/api/training/x%00y/errors".to_owned(),
        "/../../etc/passwd".to_owned(),
        "//etc/passwd".to_owned(),
    ] {
        let answer = served.get(&path);
        assert!(
            matches!(answer.status, 400 | 404),
            "{path}: {} {}",
            answer.status,
            answer.body
        );
        assert!(
            !answer.body.contains("SECRET") && !answer.body.contains("root:"),
            "{path}"
        );
    }
    assert!(!served.get("/api/studies").body.contains("away"));
}

#[test]
fn only_those_who_may_ask_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "token", "s3cret-token\n");
    let token = dir.path().join("token").display().to_string();
    let served = Served::start(&["--token-file", &token]);
    let refused = served.get("/api/studies");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    for wrong in [
        "Bearer wrong",
        "Bearer s3cret-tokenx",
        "Bearer ",
        "Basic s3cret-token",
    ] {
        let answer = served.send(
            "GET",
            "/api/studies",
            &format!("Authorization: {wrong}\r\n"),
        );
        assert_eq!(answer.status, 401, "{wrong}");
    }
    let right = served.send(
        "GET",
        "/api/studies",
        "Authorization: Bearer s3cret-token\r\n",
    );
    assert_eq!(right.status, 200);
    assert_eq!(served.get("/healthz").status, 200);

    // The names that it has, and no other.
    let served = Served::start(&["--allow-host", "gpu7.example"]);
    let host = |host: &str| {
        served
            .send("GET", "/api/studies", &format!("Host: {host}\r\n"))
            .status
    };
    assert_eq!(host("evil.example"), 421);
    assert_eq!(host("127.0.0.1.evil.example:8642"), 421);
    assert_eq!(host("localhost:1"), 200);
    assert_eq!(host("gpu7.example:8642"), 200);
    assert_eq!(host("10.1.2.3:8642"), 421);
    let foreign = served.send("GET", "/api/studies", "Origin: http://evil.example\r\n");
    assert_eq!(foreign.status, 403);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = served.send(method, "/api/studies", "Content-Length: 0\r\n");
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.headers["allow"], "GET, HEAD");
    }
    let answer = served.get("/api/studies");
    assert!(answer.headers["content-security-policy"].starts_with("default-src 'none'"));
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[test]
fn a_server_of_all_addresses_may_be_called_by_any_of_them() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "token", "s3cret-token\n");
    let token = dir.path().join("token").display().to_string();
    let served = Served::start(&["--bind", "0.0.0.0:0", "--token-file", &token]);
    let asked = |headers: &str| {
        let headers = format!("{headers}Authorization: Bearer s3cret-token\r\n");
        served.send("GET", "/api/studies", &headers).status
    };
    assert_eq!(asked("Host: 10.1.2.3:8642\r\n"), 200);
    assert_eq!(asked("Host: [fe80::7]\r\n"), 200);
    assert_eq!(asked("Host: evil.example\r\n"), 421);
    assert_eq!(asked("Host: 10.1.2.3.evil.example:1\r\n"), 421);
    // A page of this server reads it, one of another address does not.
    let from = |origin: &str| asked(&format!("Host: 10.1.2.3:1\r\nOrigin: http://{origin}\r\n"));
    assert_eq!(from("10.1.2.3:1"), 200);
    assert_eq!(from("10.9.9.9:1"), 403);
}

#[test]
fn an_experiment_whose_process_died_has_failed_wherever_it_is_counted() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    let dead = state("generating", 2, json!({}));
    write(root.path(), "one/dead/state.json", &dead);
    write(root.path(), "one/dead/experiment.log", PYTHON);
    let served = Served::over(root, &[]);
    let study = served.ok("/api/studies/one");
    assert_eq!(study["counts"]["failed"], 2);
    assert_eq!(study["counts"]["waiting"], 0);
    let among = study["causes"].to_string();
    assert!(among.contains("\"dead\""), "{among}");
    let failed = served.ok("/api/studies/one/experiments?phase=failed");
    let names: Vec<_> = failed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["name"])
        .collect();
    assert_eq!(names, ["broken", "dead"]);
    let page = served.ok("/api/experiments/one%2Fdead");
    assert_eq!(
        (&page["status"], &page["died"]),
        (&json!("failed"), &json!(true))
    );
    assert_eq!(served.ok("/api/training/dead/errors")["status"], "failed");
    let metrics = served.get("/metrics").body;
    let line = "ragicamp_experiments{study=\"one\",state=\"failed\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    // What nobody began yet waits.
    assert_eq!(served.ok("/api/studies/two")["counts"]["waiting"], 1);
}

#[test]
fn a_study_that_takes_long_to_look_at_is_not_told_as_it_was_long_ago() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    for number in 0..1500 {
        let name = format!("one/many_{number:04}/state.json");
        write(
            root.path(),
            &name,
            &state("failed", 0, json!({"error": "x"})),
        );
    }
    let served = Served::over(root, &[]);
    let complete = || served.ok("/api/studies/one")["counts"]["complete"].clone();
    let begun = Instant::now();
    assert_eq!(complete(), 1);
    let took = begun.elapsed();
    let now = state("complete", 4, json!({"metrics_computed": ["exact_match"]}));
    write(served.root.path(), "one/broken/state.json", &now);
    std::thread::sleep(Duration::from_millis(1200) + 9 * took);
    assert_eq!(complete(), 2);
}

#[test]
fn what_would_be_open_to_everybody_or_is_not_there_is_one_sentence() {
    let root = tempfile::tempdir().unwrap();
    for (arguments, word) in [
        (vec!["serve", ".", "--bind", "0.0.0.0:0"], "--token-file"),
        (vec!["serve", "nowhere"], "no directory"),
        (vec!["serve", ".", "--token-file", "none"], "none"),
    ] {
        let output = command()
            .args(&arguments)
            .current_dir(root.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn events_are_told_as_they_are_written_and_taken_up_again() {
    let served = Served::start(&[]);
    let events = served.root.path().join("one/events.jsonl");
    let listen = |headers: &str| {
        BufReader::new(served.raw(&format!(
            "GET /api/events?study=one HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            served.address
        )))
    };
    let data = |reader: &mut BufReader<TcpStream>| -> (String, Value) {
        let (mut id, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended");
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.trim().to_owned();
            }
            if let Some(text) = line.strip_prefix("data: ") {
                return (id, serde_json::from_str(text).unwrap());
            }
        }
    };
    let mut stream = listen("");
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(line.contains("200"), "{line}");
    // The first look, after which what comes is news.
    std::thread::sleep(Duration::from_millis(300));
    let append = |text: &str| {
        let mut file = fs::OpenOptions::new().append(true).open(&events).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append("{\"event\":\"progress\",\"answered\":1}\n{\"event\":\"pro");
    let (first, event) = data(&mut stream);
    assert_eq!(
        event,
        json!({"event": "progress", "answered": 1, "study": "one"})
    );
    append("gress\",\"answered\":2}\n");
    assert_eq!(data(&mut stream).1["answered"], 2);
    // Whoever was cut off misses nothing.
    let mut again = listen(&format!("Last-Event-ID: {first}\r\n"));
    assert_eq!(data(&mut again).1["answered"], 2);
    // A stream does not hold up the end.
    let begun = Instant::now();
    assert_eq!(served.end(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn nothing_that_is_asked_changes_a_file() {
    let served = Served::start(&[]);
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    tree(served.root.path(), &mut before);
    for path in [
        "/api/studies",
        "/api/studies/one",
        "/api/studies/one/experiments",
        "/api/experiments/one%2Fbroken",
        "/api/experiments/one%2Fbroken/errors",
        "/api/experiments/one%2Fbroken/predictions",
        "/api/experiments/one%2Fbroken/log",
        "/api/training/17/errors",
    ] {
        served.ok(path);
    }
    tree(served.root.path(), &mut after);
    assert!(before == after);
}
