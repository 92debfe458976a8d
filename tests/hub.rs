//! Models, datasets and corpora from a hub: a server on this machine that
//! speaks as the hub does, and the real program that downloads from it.
#![cfg(all(feature = "inference", feature = "index"))]
#![allow(clippy::unwrap_used)]

#[path = "support/parquet_table.rs"]
mod parquet_table;

use parquet_table::write_parquet;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
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

/// Files of a repository by name.
type Files = BTreeMap<String, Vec<u8>>;

/// A hub with one gated model, `camp/reader`, and some datasets that want the
/// token too.
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
        let model = ["config.json", "tokenizer.json", "model.safetensors"]
            .into_iter()
            .map(|name| (name.to_owned(), fs::read(reader().join(name)).unwrap()))
            .collect();
        let mut repositories = datasets();
        repositories.insert("camp/reader".to_owned(), model);
        let files = Arc::new(repositories);
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

/// The dataset repositories, as URLs name them.
fn datasets() -> BTreeMap<String, Files> {
    let dir = tempfile::tempdir().unwrap();
    let table = |schema: &str, rows: &[Value]| {
        let path = dir.path().join("table.parquet");
        write_parquet(&path, schema, rows, 3);
        fs::read(path).unwrap()
    };
    let questions: Vec<Value> = (0..20)
        .map(|i| json!({"question": format!("what is the number {i}"), "answer": [i.to_string()]}))
        .collect();
    let articles = |numbers: std::ops::Range<u32>| -> Vec<Value> {
        numbers
            .map(|i| {
                json!({"id": i.to_string(), "url": format!("https://simple.wikipedia.org/wiki/{i}"),
                    "title": format!("Number {i}"), "text": format!("The number {i} is a number.")})
            })
            .collect()
    };
    let popqa = "id\tquestion\tpossible_answers\n7\tWhat is X?\t\"[\"\"a\"\", \"\"b\"\"]\"\n";
    let repository = |files: Vec<(&str, Vec<u8>)>| -> Files {
        let files = files.into_iter();
        files
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect()
    };
    BTreeMap::from([
        (
            "datasets/google-research-datasets/nq_open".to_owned(),
            repository(vec![
                ("README.md", b"# NQ-open".to_vec()),
                (
                    "nq_open/train-00000-of-00001.parquet",
                    b"not wanted".to_vec(),
                ),
                (
                    "nq_open/validation-00000-of-00001.parquet",
                    table(NQ, &questions),
                ),
            ]),
        ),
        (
            "datasets/akariasai/PopQA".to_owned(),
            repository(vec![("test.tsv", popqa.into())]),
        ),
        (
            "datasets/wikimedia/wikipedia".to_owned(),
            repository(vec![
                (
                    "20231101.en/train-00000-of-00041.parquet",
                    b"not wanted".to_vec(),
                ),
                (
                    "20231101.simple/train-00000-of-00002.parquet",
                    table(WIKIPEDIA, &articles(0..10)),
                ),
                (
                    "20231101.simple/train-00001-of-00002.parquet",
                    table(WIKIPEDIA, &articles(10..20)),
                ),
            ]),
        ),
    ])
}

const NQ: &str = "message schema {
    optional binary question (STRING);
    optional group answer (LIST) { repeated group list { optional binary element (STRING); } }
}";

const WIKIPEDIA: &str = "message schema {
    optional binary id (STRING);
    optional binary url (STRING);
    optional binary title (STRING);
    optional binary text (STRING);
}";

/// Answers one request and closes, as HTTP/1.1 with `Connection: close`.
fn serve(
    mut stream: TcpStream,
    repositories: &BTreeMap<String, Files>,
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
    let listed = path.strip_prefix("/api/").and_then(|path| {
        let path = path.strip_prefix("models/").unwrap_or(path);
        repositories.get(path.split_once("/revision/")?.0)
    });
    if let Some(files) = listed {
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
    let place = path.strip_prefix('/').and_then(|path| {
        let (repository, name) = path.split_once(&format!("/resolve/{COMMIT}/"))?;
        repositories.get(repository)?.get(name)
    });
    let Some(bytes) = place else {
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
        "Content-Range: bytes {start}-{end}/{}\r\nETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n",
        bytes.len(),
        sha256(bytes)
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

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
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

/// Everything in it but the model is from the hub.
const OF_THE_HUB: &str = "\
name: s
num_questions: 4
question_seed: 1
datasets: [nq, popqa]
rag:
  models: ['embedded:reader']
  retrievers: [{name: wiki, type: bm25, corpus: simple, chunking: none}]
  top_k_values: [2]
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

    fn with_study(study: &str) -> Self {
        let place = Self::new();
        fs::write(place.dir.path().join("study.yaml"), study).unwrap();
        place
    }

    fn json(&self, file: &str) -> Value {
        let path = self.dir.path().join("outputs/s").join(file);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
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

const NQ_CELL: &str = "rag_embedded_reader_wiki_k2_default_nq_none";

#[test]
fn fetch_brings_datasets_and_corpus_and_the_manifest_says_which() {
    let hub = Hub::start(false);
    let place = Place::with_study(OF_THE_HUB);
    let fetched = place.call(&hub, &["fetch", "study.yaml"], &[]);
    assert_eq!(fetched.status.code(), Some(0), "{}", told(&fetched));
    let out = String::from_utf8_lossy(&fetched.stdout);
    for line in [
        "dataset  nq: here, 20 questions",
        "dataset  popqa: here, 1 question",
        "corpus   simple: here",
        "index    wiki: here",
    ] {
        assert!(out.contains(line), "{}", told(&fetched));
    }
    // What is not asked for is not downloaded.
    assert_eq!(hub.asked_for("nq_open/train"), 0);
    assert_eq!(hub.asked_for("20231101.en"), 0);

    let before = hub.asked.lock().unwrap().len();
    let ran = place.call(&hub, &["run", "study.yaml"], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    assert_eq!(hub.asked.lock().unwrap().len(), before);
    let questions = place.json(&format!("{NQ_CELL}/questions.json"));
    assert_eq!(questions["count"], 4);
    let retrieved =
        &place.json(&format!("{NQ_CELL}/predictions.json"))["predictions"][0]["retrieved"];
    assert_eq!(retrieved.as_array().unwrap().len(), 2);

    let manifest = place.json("manifest.json");
    let nq = &manifest["datasets"]["nq"];
    let bytes = &datasets()["datasets/google-research-datasets/nq_open"]["nq_open/validation-00000-of-00001.parquet"];
    assert_eq!(nq["revision"], COMMIT, "{manifest}");
    assert_eq!(nq["sha256"], sha256(bytes), "{manifest}");
    assert_eq!(nq["sample_seed"], 1, "{manifest}");
    assert_eq!(manifest["datasets"]["popqa"]["questions"], 1, "{manifest}");
    let simple = &manifest["corpora"]["simple"];
    assert_eq!(simple["revision"], COMMIT, "{manifest}");
    assert_eq!(simple["files"], 2, "{manifest}");
}

#[test]
fn run_downloads_datasets_and_corpus_itself_and_a_sample_can_grow() {
    let hub = Hub::start(false);
    let place = Place::with_study(OF_THE_HUB);
    let ran = place.call(&hub, &["run", "study.yaml"], &[]);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    let four = place.json(&format!("{NQ_CELL}/questions.json"))["questions"].clone();
    let more = OF_THE_HUB.replace("num_questions: 4", "num_questions: 6");
    fs::write(place.dir.path().join("study.yaml"), more).unwrap();
    let ran = place.call(&hub, &["run", "study.yaml"], &[]);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    let six = place.json(&format!("{NQ_CELL}/questions.json"))["questions"].clone();
    assert_eq!(six.as_array().unwrap()[..4], four.as_array().unwrap()[..]);
    let first = four[0]["question"].as_str().unwrap();
    assert_ne!(first, "what is the number 0", "they are drawn");
}

#[test]
fn without_a_network_the_missing_file_is_named_with_the_way_to_get_it() {
    let hub = Hub::start(false);
    let place = Place::with_study(OF_THE_HUB);
    let ran = place.call(&hub, &["run", "study.yaml"], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(ran.status.code(), Some(1), "{}", told(&ran));
    let said = told(&ran);
    for words in [
        "google-research-datasets/nq_open is not on this machine",
        "nq_open/validation* is missing below",
        "ragicamp fetch STUDY.yaml",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(hub.asked.lock().unwrap().is_empty());

    // A shard that got lost is named exactly.
    let fetched = place.call(&hub, &["fetch", "study.yaml"], &[]);
    assert_eq!(fetched.status.code(), Some(0), "{}", told(&fetched));
    let shard = format!(
        "hf/hub/datasets--wikimedia--wikipedia/snapshots/{COMMIT}/20231101.simple/train-00001-of-00002.parquet"
    );
    fs::remove_file(place.dir.path().join(shard)).unwrap();
    let again = place.call(&hub, &["fetch", "study.yaml"], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(again.status.code(), Some(1), "{}", told(&again));
    let said = told(&again);
    assert!(
        said.contains("20231101.simple/train-00001-of-00002.parquet is missing"),
        "{said}"
    );
}

#[test]
fn a_revision_is_asked_for_and_a_split_that_is_not_there_is_told() {
    let hub = Hub::start(false);
    let pinned = OF_THE_HUB.replace("[nq, popqa]", "[{name: nq, revision: v1.0}]");
    let place = Place::with_study(&pinned);
    let ran = place.call(&hub, &["run", "study.yaml"], &[]);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    assert_eq!(
        hub.asked_for("/api/datasets/google-research-datasets/nq_open/revision/v1.0"),
        1
    );

    let wrong = OF_THE_HUB.replace("[nq, popqa]", "[{name: nq, split: test}]");
    let place = Place::with_study(&wrong);
    let ran = place.call(&hub, &["run", "study.yaml"], &[]);
    assert_eq!(ran.status.code(), Some(1), "{}", told(&ran));
    let said = told(&ran);
    assert!(said.contains("has no file nq_open/test*"), "{said}");
    assert!(
        said.contains("nq_open/validation-00000-of-00001.parquet"),
        "{said}"
    );
}
