//! Models from a hub: a server on this machine that speaks as the hub does,
//! and the real program that downloads from it.
#![cfg(all(feature = "inference", feature = "bm25"))]
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_very_secret_token_0123456789";

/// A hub with one gated model, `camp/reader`.
struct Hub {
    url: String,
    /// `GET path`, as they came.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    /// `breaks` ends the first download of the weights in their middle.
    fn start(breaks: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let files: Arc<BTreeMap<String, Vec<u8>>> = Arc::new(
            ["config.json", "tokenizer.json", "model.safetensors"]
                .into_iter()
                .map(|name| (name.to_owned(), fs::read(reader().join(name)).unwrap()))
                .collect(),
        );
        let broken = Arc::new(Mutex::new(!breaks));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, log, broken) =
                    (Arc::clone(&files), Arc::clone(&log), Arc::clone(&broken));
                thread::spawn(move || serve(stream.unwrap(), &files, &log, &broken));
            }
        });
        Self { url, asked }
    }

    fn asked_for(&self, part: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|path| path.contains(part)).count()
    }
}

fn reader() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/models/reader")
}

/// Answers one request and closes, as HTTP/1.1 with `Connection: close`.
fn serve(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    log: &Mutex<Vec<String>>,
    broken: &Mutex<bool>,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let mut headers = BTreeMap::new();
    for line in lines.map_while(Result::ok) {
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().unwrap().push(path.clone());
    let mut reply = |status: &str, headers: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        // Whoever has gone meanwhile needs no answer.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(body);
    };
    if headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return reply("401 Unauthorized", "", b"gated");
    }
    if path.starts_with("/api/models/camp/reader") {
        let names: Vec<Value> = files
            .keys()
            .map(|name| json!({"rfilename": name}))
            .collect();
        let body = json!({"siblings": names, "sha": COMMIT}).to_string();
        return reply(
            "200 OK",
            "Content-Type: application/json\r\n",
            body.as_bytes(),
        );
    }
    let name = path.strip_prefix(&format!("/camp/reader/resolve/{COMMIT}/"));
    let Some(bytes) = name.and_then(|name| files.get(name)) else {
        return reply("404 Not Found", "", b"no such file");
    };
    let range = headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'));
    let (start, end) = range.map_or((0, bytes.len() - 1), |(start, end)| {
        (
            start.parse().unwrap(),
            end.parse().unwrap_or(bytes.len() - 1),
        )
    });
    let whole = end - start > 1 << 20;
    let described = format!(
        "Content-Range: bytes {start}-{end}/{}\r\nETag: \"{:x}\"\r\nX-Repo-Commit: {COMMIT}\r\n",
        bytes.len(),
        bytes.len()
    );
    if whole && !std::mem::replace(&mut *broken.lock().unwrap(), true) {
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nConnection: close\r\n{described}\r\n",
            end + 1 - start
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&bytes[start..start + (1 << 20)]);
        return;
    }
    reply("206 Partial Content", &described, &bytes[start..=end]);
}

const STUDY: &str = "\
name: s
num_questions: 8
datasets: [{name: quick, path: DATA/questions.jsonl}]
direct: {models: ['hf:camp/reader'], prompts: [default], quantization: [none]}
rag:
  models: ['hf:camp/reader']
  retrievers: [{name: bm25, type: bm25, corpus: DATA/encyclopedia.jsonl, chunking: none}]
  top_k_values: [1]
  prompts: [default]
  quantization: [none]
generation: {max_new_tokens: 8, temperature: 0, stop: [\"\\n\"]}
metrics: [exact_match]
batch_size: 4
";

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/data/quickstart");
        let study = STUDY.replace("DATA", data.to_str().unwrap());
        fs::write(dir.path().join("study.yaml"), study).unwrap();
        Self { dir }
    }

    fn call(&self, hub: &Hub, arguments: &[&str], more: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ragicamp"))
            .args(arguments)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("HF_HOME", self.dir.path().join("hf"))
            .env("HF_ENDPOINT", &hub.url)
            .env("HF_TOKEN", TOKEN)
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"))
            .env_remove("HF_HUB_OFFLINE")
            .env_remove("FAILPOINTS")
            .envs(more.iter().copied())
            .output()
            .unwrap()
    }
}

fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn fetch_brings_model_and_index_and_the_study_runs_without_a_network_after() {
    let hub = Hub::start(false);
    let place = Place::new();
    let fetched = place.call(&hub, &["fetch", "study.yaml"], &[]);
    assert_eq!(fetched.status.code(), Some(0), "{}", told(&fetched));
    let out = String::from_utf8_lossy(&fetched.stdout);
    for line in [
        "model    hf:camp/reader: here",
        "dataset  quick: here",
        "index    bm25: here",
    ] {
        assert!(out.contains(line), "{}", told(&fetched));
    }
    assert!(!told(&fetched).contains(TOKEN));
    let snapshot = place
        .dir
        .path()
        .join("hf/hub/models--camp--reader/snapshots")
        .join(COMMIT);
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        assert_eq!(
            fs::read(snapshot.join(name)).unwrap(),
            fs::read(reader().join(name)).unwrap(),
            "{name}"
        );
    }

    // What is here is not asked for again, and a node without a network runs.
    let before = hub.asked.lock().unwrap().len();
    let ran = place.call(&hub, &["run", "study.yaml"], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    assert!(
        !told(&ran).contains("building the index"),
        "the index was built by fetch: {}",
        told(&ran)
    );
    assert_eq!(hub.asked.lock().unwrap().len(), before);
    let metadata = place
        .dir
        .path()
        .join("outputs/s/direct_hf_camp_reader_default_quick_none/metadata.json");
    let metadata = fs::read_to_string(metadata).unwrap();
    assert!(
        metadata.contains(COMMIT),
        "the commit is on record: {metadata}"
    );
}

#[test]
fn run_downloads_what_is_missing_itself() {
    let hub = Hub::start(false);
    let place = Place::new();
    let ran = place.call(&hub, &["run", "study.yaml"], &[]);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    assert!(hub.asked_for("model.safetensors") > 0);
}

#[test]
fn a_download_that_breaks_off_fails_its_cells_and_the_next_try_completes_it() {
    let hub = Hub::start(true);
    let place = Place::new();
    let first = place.call(&hub, &["fetch", "study.yaml"], &[]);
    let said = told(&first);
    if first.status.code() == Some(0) {
        // The client may also have taken up the thread by itself.
        assert!(hub.asked_for("model.safetensors") >= 2, "{said}");
    } else {
        assert_eq!(first.status.code(), Some(1), "{said}");
        assert!(said.contains("hf:camp/reader"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    let again = place.call(&hub, &["run", "study.yaml"], &[]);
    assert_eq!(again.status.code(), Some(0), "{}", told(&again));
}

#[test]
fn a_gated_model_without_a_token_says_what_to_do() {
    let hub = Hub::start(false);
    let place = Place::new();
    let refused = place.call(&hub, &["run", "study.yaml"], &[("HF_TOKEN", "")]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    let said = told(&refused);
    assert!(said.contains("HF_TOKEN"), "{said}");
    assert!(said.contains("hf:camp/reader"), "{said}");
}
