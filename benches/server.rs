//! The HTTP API under load: 10,000 experiments, and a log of 1 GB.
//!
//! `cargo bench --bench server`, with `wrk` installed (`apt-get install wrk`).
//! Each request is asked by four clients at once for some seconds, after one
//! of its kind was answered. Figures that have a bar are marked PASS or MISS;
//! a MISS ends with exit code 1.

use serde_json::json;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::Instant,
};

const CLIENTS: &str = "-c4";
const SECONDS: &str = "-d4s";

/// Milliseconds within which 95 of 100 answers are there.
const P95_MS: f64 = 50.0;

/// Megabytes of the server's memory, at most.
const RESIDENT_MB: f64 = 200.0;

/// wrk prints no 95th percentile by itself.
const SCRIPT: &str = r#"
done = function(summary, latency)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.status + summary.errors.timeout
  io.write(string.format("FIGURES %f %f %d %d\n", latency:percentile(50) / 1000, latency:percentile(95) / 1000, summary.requests, bad))
end
"#;

fn main() -> ExitCode {
    let (experiments, log_bytes) = match cfg!(debug_assertions) {
        // Only shows that it works.
        true => (200, 2_000_000),
        false => (10_000, 1_000_000_000),
    };
    if Command::new("wrk").arg("-v").output().is_err() {
        println!("skipped: wrk is not installed (apt-get install wrk)");
        return ExitCode::SUCCESS;
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    large_study(root.path(), experiments);
    large_log(root.path(), log_bytes);
    let script = root.path().join("p95.lua");
    fs::write(&script, SCRIPT).expect("the script");

    let server = Server::start(root.path());
    let one = format!(
        "/api/experiments/large%2Fexperiment_{:05}",
        experiments / 2 + 1
    );
    let middle = log_bytes / 2;
    let mut missed = 0;
    println!("{experiments} experiments, a log of {log_bytes} bytes");
    for path in [
        "/api/studies".to_owned(),
        "/api/studies/large".to_owned(),
        "/api/studies/large/experiments?phase=failed&sort=errors&order=desc".to_owned(),
        "/api/studies/large/experiments?q=_00".to_owned(),
        one.clone(),
        format!("{one}/errors"),
        format!("{one}/predictions"),
        "/api/experiments/big%2Fhuge/errors".to_owned(),
        format!("/api/experiments/big%2Fhuge/log?from={middle}"),
        format!("/api/experiments/big%2Fhuge/log?line={}", middle / 100),
        "/metrics".to_owned(),
    ] {
        let begun = Instant::now();
        let url = format!("{}{path}", server.url);
        let first = Command::new("wrk")
            .args(["-t1", "-c1", "-d1s", "--timeout", "60s", &url])
            .output();
        drop(first);
        let warm = begun.elapsed().as_secs_f64();
        let figures = measure(&url, &script);
        let [p50, p95, requests, bad] = figures;
        let passed = p95 < P95_MS && bad == 0.0;
        missed += usize::from(!passed);
        println!(
            "{}  p50 {p50:6.2} ms, p95 {p95:6.2} ms, {:6.0}/s, {bad} errors, {:4.0} MB, warm after {warm:.1} s  {path}",
            word(passed),
            requests / 4.0,
            server.resident("VmRSS"),
        );
    }
    let most = server.resident("VmHWM");
    let passed = most < RESIDENT_MB;
    missed += usize::from(!passed);
    println!(
        "{}  memory at most {most:.0} MB (bar {RESIDENT_MB:.0})",
        word(passed)
    );
    if missed > 0 && !cfg!(debug_assertions) {
        println!("{missed} bars missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn word(passed: bool) -> &'static str {
    if passed { "PASS" } else { "MISS" }
}

fn measure(url: &str, script: &Path) -> [f64; 4] {
    let output = Command::new("wrk")
        .args(["-t1", CLIENTS, SECONDS, "-s"])
        .arg(script)
        .arg(url)
        .output()
        .expect("wrk runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("FIGURES "))
        .unwrap_or_else(|| panic!("{text}"));
    let figures: Vec<f64> = line.split(' ').flat_map(str::parse).collect();
    figures.try_into().expect("four figures")
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(root: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ragicamp"))
            .arg("serve")
            .arg(root)
            .args(["--bind", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let mut line = String::new();
        BufReader::new(stderr).read_line(&mut line).expect("a line");
        let url = line.trim().trim_start_matches("listening on ").to_owned();
        Self { child, url }
    }

    /// Megabytes.
    fn resident(&self, what: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        status
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
            .map_or(f64::NAN, |kilobytes| kilobytes / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const FAILURE: &str = "\
Traceback (most recent call last):
  File \"/app/eval.py\", line 12, in main
    answer(batch)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
";

/// One of twenty experiments failed, of ten predictions each.
fn large_study(root: &Path, experiments: usize) {
    let study = root.join("large");
    fs::create_dir_all(&study).expect("the study");
    fs::write(study.join("study.yaml"), "name: large\n").expect("its YAML");
    let predictions: Vec<_> = (0..10)
        .map(|idx| json!({"idx": idx, "question": format!("What is {idx}?"), "prediction": "x", "expected": ["x"], "error": null}))
        .collect();
    for index in 0..experiments {
        let name = format!("experiment_{index:05}");
        let failed = index % 20 == 1;
        let at = study.join(&name);
        fs::create_dir_all(&at).expect("a directory");
        let state = json!({
            "phase": if failed { "failed" } else { "complete" }, "error": failed.then_some("CUDA out of memory"),
            "predictions_complete": 10, "total_questions": 10, "started_at": "2026-03-01T10:00:00Z",
            "updated_at": "2026-03-01T10:20:00Z", "metrics_requested": ["f1"], "metrics_computed": ["f1"], "interrupted": false, "attempt": 1,
        });
        let put = |file: &str, text: String| fs::write(at.join(file), text).expect("a file");
        put("state.json", state.to_string());
        put("metadata.json", json!({"spec": {"model": {"provider": "hf", "name": format!("a/model_{}", index % 7)}, "quantization": "8bit"}}).to_string());
        put(
            "results.json",
            json!({"name": name, "metrics": {"f1": 0.5}, "num_examples": 10}).to_string(),
        );
        put(
            "predictions.json",
            json!({"experiment": name, "predictions": predictions, "aggregate_metrics": {}})
                .to_string(),
        );
        put(
            "experiment.log",
            format!(
                "[2026-03-01 10:00:00] [m] [INFO] [Main] begun\n{}",
                if failed { FAILURE } else { "" }
            ),
        );
    }
}

/// A failed experiment with a log of `bytes`: lines of 100 bytes, an error
/// among a thousand of them.
fn large_log(root: &Path, bytes: u64) {
    let at = root.join("big/huge");
    fs::create_dir_all(&at).expect("a directory");
    fs::write(root.join("big/study.yaml"), "name: big\n").expect("its YAML");
    let state = json!({"phase": "failed", "error": "CUDA out of memory", "predictions_complete": 0, "total_questions": 10});
    fs::write(at.join("state.json"), state.to_string()).expect("a file");
    let mut log = BufWriter::new(File::create(at.join("experiment.log")).expect("the log"));
    for line in 0..bytes / 100 {
        let level = if line % 1000 == 999 { "ERROR" } else { "INFO" };
        let text = format!(
            "[2026-03-01 10:{:02}:{:02}] [worker] [{level}] [Inference] batch {line} of the run took a while",
            line / 60 % 60,
            line % 60
        );
        writeln!(log, "{text:<99}").expect("a line");
    }
    log.write_all(FAILURE.as_bytes()).expect("the failure");
}
