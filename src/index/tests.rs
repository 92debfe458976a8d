#![allow(clippy::unwrap_used)]

use super::{bm25::Bm25, *};
use crate::domain::Passage;
use std::{collections::HashMap, fs, path::PathBuf, time::Instant};

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

fn spec(corpus: &Path, chunking: &str) -> RetrieverSpec {
    RetrieverSpec {
        name: "mine".into(),
        kind: RetrieverKind::Bm25,
        corpus: corpus.to_str().unwrap().into(),
        embedding: None,
        chunking: chunking.into(),
        chunk_size: 40,
        chunk_overlap: 0,
        options: Default::default(),
    }
}

/// A corpus file in a fresh directory, and a cache beside it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(corpus: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("corpus.jsonl"), corpus).unwrap();
        Self { dir }
    }

    fn corpus(&self) -> PathBuf {
        self.dir.path().join("corpus.jsonl")
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Opens the index and says whether it was built.
    fn open(&self, spec: &RetrieverSpec) -> Result<(Bm25, bool), IndexError> {
        let mut built = false;
        let index = bm25::open(spec, &self.cache(), &mut |progress| {
            built |= matches!(progress, BuildProgress::Finished { .. });
        })?;
        Ok((index, built))
    }

    fn indexes(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.cache())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn ids(passages: &[Passage]) -> Vec<&str> {
    passages.iter().map(|passage| passage.id.as_str()).collect()
}

const THREE: &str = r#"{"id":"a","title":"Rivers","text":"The Warbora is a river of 336 km."}
{"_id":"b","text":"Nora Marfin plays the piano."}

{"id":3,"title":"","contents":"Nothing of the river."}
"#;

#[test]
fn passages_are_found_by_words_of_text_and_title() {
    let place = Place::new(THREE);
    let (index, _) = place.open(&spec(&place.corpus(), "none")).unwrap();
    let found = index.retrieve("Who is Nora Marfin?", 3).unwrap();
    assert_eq!(found[0].id, "b");
    assert_eq!(found[0].text, "Nora Marfin plays the piano.");
    assert_eq!(found[0].title, None);
    let found = index.retrieve("rivers", 3).unwrap();
    assert_eq!(ids(&found), ["a"]);
    assert_eq!(found[0].title.as_deref(), Some("Rivers"));
    assert!(found[0].score > 0.0);
    assert_eq!(ids(&index.retrieve("RIVER", 3).unwrap()), ["3", "a"]);
}

#[test]
fn a_query_is_plain_text_whatever_it_holds() {
    let place = Place::new(THREE);
    let (index, _) = place.open(&spec(&place.corpus(), "none")).unwrap();
    let plain = index.retrieve("Marfin piano", 3).unwrap();
    for query in [
        "Marfin AND piano)",
        "\"Marfin piano",
        "+Marfin -piano",
        "text:Marfin^5 piano~2",
        "Marfin [ TO } piano *?\\/",
    ] {
        assert_eq!(
            index.retrieve(query, 3).unwrap()[0].id,
            plain[0].id,
            "{query}"
        );
    }
    for nothing in ["", "   ", "?!\"'()", "zzz"] {
        assert!(index.retrieve(nothing, 3).unwrap().is_empty(), "{nothing}");
    }
    assert!(index.retrieve("river", 0).unwrap().is_empty());
    assert_eq!(index.retrieve("river", usize::MAX).unwrap().len(), 2);
    let long = "river ".repeat(20_000);
    assert_eq!(index.retrieve(&long, 5).unwrap().len(), 2);
}

#[test]
fn equal_scores_stand_in_the_order_of_their_ids_also_at_the_border() {
    let corpus: String = (0..100)
        .map(|i| {
            format!(
                "{{\"id\":\"p{:02}\",\"text\":\"same words\"}}\n",
                (i * 37) % 100
            )
        })
        .collect();
    let place = Place::new(&corpus);
    let (index, _) = place.open(&spec(&place.corpus(), "none")).unwrap();
    let found = index.retrieve("same words", 5).unwrap();
    assert_eq!(ids(&found), ["p00", "p01", "p02", "p03", "p04"]);
    let more = index.retrieve("same words", 50).unwrap();
    assert_eq!(ids(&more)[..5], ids(&found));
}

#[test]
fn chunks_are_found_one_by_one_and_named_after_their_document() {
    let text = "The first sentence is of rivers. The second sentence is of pianos.";
    let place = Place::new(&format!(
        "{{\"id\":\"d\",\"title\":\"T\",\"text\":\"{text}\"}}"
    ));
    let (index, _) = place.open(&spec(&place.corpus(), "sentence")).unwrap();
    assert_eq!(index.passages(), 2);
    let found = index.retrieve("pianos", 2).unwrap();
    assert_eq!(ids(&found), ["d#1"]);
    assert_eq!(found[0].text, "The second sentence is of pianos.");
    // Every chunk carries its document's title.
    assert_eq!(index.retrieve("T", 5).unwrap().len(), 2);
}

#[test]
fn an_index_is_built_once_and_again_when_anything_in_it_changes() {
    let place = Place::new(THREE);
    let whole = spec(&place.corpus(), "none");
    assert!(place.open(&whole).unwrap().1);
    assert!(!place.open(&whole).unwrap().1);
    let mut renamed = whole.clone();
    renamed.name = "other".into();
    assert!(!place.open(&renamed).unwrap().1);
    assert!(place.open(&spec(&place.corpus(), "fixed")).unwrap().1);
    fs::write(place.corpus(), THREE.replace("piano", "flute")).unwrap();
    let (index, built) = place.open(&whole).unwrap();
    assert!(built);
    assert_eq!(index.retrieve("flute", 1).unwrap().len(), 1);
    assert_eq!(index.manifest()["passages"], 3);
    assert_eq!(
        index.manifest()["corpus_sha256"].as_str().unwrap().len(),
        64
    );
    assert_eq!(place.indexes().len(), 3);
}

#[test]
fn a_broken_index_is_set_aside_and_built_anew() {
    let place = Place::new(THREE);
    let whole = spec(&place.corpus(), "none");
    let (index, _) = place.open(&whole).unwrap();
    fs::remove_file(index.path().join("meta.json")).unwrap();
    drop(index);
    let (index, built) = place.open(&whole).unwrap();
    assert!(built);
    assert_eq!(index.passages(), 3);
    let names = place.indexes();
    assert_eq!(names.len(), 2);
    assert!(names[1].ends_with(".broken"));
}

#[test]
fn what_a_killed_build_left_is_removed_and_a_living_one_is_not() {
    let place = Place::new(THREE);
    let dead = place.cache().join(".building-dead");
    let living = place.cache().join(".building-living");
    for dir in [&dead, &living] {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("lock"), "").unwrap();
    }
    let lock = fs::File::open(living.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    place.open(&spec(&place.corpus(), "none")).unwrap();
    assert!(!dead.exists());
    assert!(living.exists());
}

#[test]
fn several_builders_at_once_end_with_one_whole_index() {
    let corpus: String = (0..2_000)
        .map(|i| format!("{{\"id\":\"p{i}\",\"text\":\"word{} common\"}}\n", i % 50))
        .collect();
    let place = Place::new(&corpus);
    let spec = spec(&place.corpus(), "none");
    let answers: Vec<Vec<Passage>> = std::thread::scope(|scope| {
        let builders: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (index, _) = place.open(&spec).unwrap();
                    index.retrieve("word7 common", 10).unwrap()
                })
            })
            .collect();
        builders
            .into_iter()
            .map(|builder| builder.join().unwrap())
            .collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(answers[0].len(), 10);
    assert_eq!(place.indexes().len(), 1);
}

#[test]
fn a_directory_of_texts_is_a_corpus() {
    let dir = tempfile::tempdir().unwrap();
    let docs = dir.path().join("docs");
    fs::create_dir_all(docs.join("deep")).unwrap();
    fs::write(docs.join("deep/b.md"), "# The Heading\n\nAbout pianos.").unwrap();
    fs::write(docs.join("a.txt"), "About rivers.").unwrap();
    fs::write(docs.join("c.pdf"), "About pianos.").unwrap();
    let spec = spec(&docs, "none");
    let index = bm25::open(&spec, &dir.path().join("cache"), &mut |_| ()).unwrap();
    let found = index.retrieve("pianos", 5).unwrap();
    assert_eq!(ids(&found), ["deep/b.md"]);
    assert_eq!(found[0].title.as_deref(), Some("The Heading"));
    assert_eq!(
        index.retrieve("rivers", 5).unwrap()[0].title.as_deref(),
        Some("a")
    );
}

const WIKIPEDIA: &str = "message schema {
    optional binary id (STRING);
    optional binary url (STRING);
    optional binary title (STRING);
    optional binary text (STRING);
}";

fn articles(numbers: std::ops::Range<u32>) -> Vec<serde_json::Value> {
    numbers
        .map(|i| serde_json::json!({"id": i.to_string(), "title": format!("T{i}"), "text": format!("word{i} common")}))
        .collect()
}

#[test]
fn parquet_files_are_a_corpus_alone_and_as_a_directory_of_shards() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let shards = dir.path().join("shards");
    write_parquet(
        &shards.join("a-00000-of-00002.parquet"),
        WIKIPEDIA,
        &articles(0..30),
        7,
    );
    write_parquet(
        &shards.join("a-00001-of-00002.parquet"),
        WIKIPEDIA,
        &articles(30..50),
        7,
    );
    let whole = dir.path().join("whole.parquet");
    write_parquet(&whole, WIKIPEDIA, &articles(0..50), 100);
    for corpus in [&shards, &whole] {
        let index = bm25::open(&spec(corpus, "none"), &cache, &mut |_| ()).unwrap();
        assert_eq!(index.passages(), 50);
        let found = index.retrieve("word42", 3).unwrap();
        assert_eq!(ids(&found), ["42"]);
        assert_eq!(found[0].title.as_deref(), Some("T42"));
        // Titles are there for the search, other columns are not.
        assert_eq!(ids(&index.retrieve("T7", 3).unwrap()), ["7"]);
    }
    // Where the shards lie does not matter.
    let moved = dir.path().join("moved");
    fs::rename(&shards, &moved).unwrap();
    let mut built = false;
    bm25::open(&spec(&moved, "none"), &cache, &mut |_| built = true).unwrap();
    assert!(!built);

    write_parquet(&moved.join("b.parquet"), WIKIPEDIA, &articles(49..51), 7);
    let error = bm25::open(&spec(&moved, "none"), &cache, &mut |_| ())
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("b.parquet:1: id '49' was there before"),
        "{error}"
    );
}

#[test]
fn max_docs_takes_the_first_documents_and_makes_an_index_of_its_own() {
    let place = Place::new(THREE);
    let mut two = spec(&place.corpus(), "none");
    two.options.insert("max_docs".into(), 2.into());
    assert_eq!(place.open(&two).unwrap().0.passages(), 2);
    let (all, built) = place.open(&spec(&place.corpus(), "none")).unwrap();
    assert!(built);
    assert_eq!(all.passages(), 3);
}

#[test]
fn a_corpus_that_is_wrong_is_named_with_its_line() {
    for (corpus, words) in [
        (
            "{\"id\":\"a\",\"text\":\"x\"}\n{broken\n",
            "corpus.jsonl:2: not a JSON object",
        ),
        ("{\"id\":\"a\"}\n", "corpus.jsonl:1: no text"),
        (
            "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"y\"}\n",
            "corpus.jsonl:2: id 'a' was there before",
        ),
        ("", "has no text in it"),
        ("{\"id\":\"a\",\"text\":\"  \"}\n", "has no text in it"),
    ] {
        let place = Place::new(corpus);
        let error = place.open(&spec(&place.corpus(), "none")).err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
        // Nothing half done is left behind.
        assert!(place.indexes().is_empty(), "{corpus}");
    }
}

#[test]
fn what_is_not_there_is_said_in_one_sentence() {
    let place = Place::new(THREE);
    let mut asked = spec(Path::new("nowhere.jsonl"), "none");
    let refusal = |asked: &RetrieverSpec| {
        open(asked, &place.cache(), &mut |_| ())
            .err()
            .unwrap()
            .to_string()
    };
    assert!(refusal(&asked).contains("no corpus 'nowhere.jsonl'"));
    asked.kind = RetrieverKind::Dense;
    assert!(refusal(&asked).contains("dense search is not available"));
    asked.kind = RetrieverKind::Bm25;
    asked.chunking = "token".into();
    assert!(refusal(&asked).contains("recursive"));
}

#[test]
fn a_full_disk_stops_the_study_and_a_wrong_corpus_only_its_experiments() {
    let full = IndexError::Io {
        path: "x".into(),
        source: io::ErrorKind::StorageFull.into(),
    };
    assert_eq!(Failure::from(full).class, FailureClass::Environment);
    let missing = IndexError::CorpusEmpty { path: "x".into() };
    assert_eq!(Failure::from(missing).class, FailureClass::Permanent);
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The reference: `\w+` in lower case, k1 = 1.2, b = 0.75, text without title.
#[test]
fn squad_paragraphs_are_found_as_well_as_by_the_reference() {
    let (Some(data), Some(reference)) = (
        shared("squad_dev11_retrieval"),
        shared("retrieval_ref.json"),
    ) else {
        return;
    };
    let reference: serde_json::Value =
        serde_json::from_slice(&fs::read(reference).unwrap()).unwrap();
    let reference = &reference["bm25"]["k1=1.2,b=0.75"]["every10th"];
    let relevant: HashMap<String, String> = fs::read_to_string(data.join("qrels.tsv"))
        .unwrap()
        .lines()
        .skip(1)
        .map(|line| {
            let mut cells = line.split('\t').map(str::to_owned);
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();

    let cache = tempfile::tempdir().unwrap();
    let spec = spec(&data.join("corpus.jsonl"), "none");
    let started = Instant::now();
    let index = open(&spec, cache.path(), &mut |_| ()).unwrap();
    let build = started.elapsed();
    let queries: Vec<serde_json::Value> = lines(&data.join("queries.jsonl"))
        .into_iter()
        .step_by(10)
        .collect();
    assert_eq!(queries.len(), 1_057);
    let started = Instant::now();
    let ranks: Vec<Option<usize>> = queries
        .iter()
        .map(|query| {
            let wanted = &relevant[query["_id"].as_str().unwrap()];
            index
                .retrieve(query["text"].as_str().unwrap(), 10)
                .unwrap()
                .iter()
                .position(|passage| passage.id == *wanted)
        })
        .collect();
    let per_second = queries.len() as f64 / started.elapsed().as_secs_f64();
    eprintln!("built in {build:?}, {per_second:.0} queries/s");
    for k in [1, 5, 10] {
        let found = ranks
            .iter()
            .filter(|rank| rank.is_some_and(|rank| rank < k))
            .count();
        let recall = found as f64 / ranks.len() as f64;
        let theirs = reference[format!("recall@{k}")].as_f64().unwrap();
        eprintln!("recall@{k} {recall:.4}, reference {theirs:.4}");
        assert!(recall >= theirs - 0.005, "recall@{k}: {recall} < {theirs}");
    }
}

#[test]
fn the_quickstart_finds_its_supporting_passages() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/data/quickstart");
    let cache = tempfile::tempdir().unwrap();
    let spec = spec(&data.join("encyclopedia.jsonl"), "none");
    let index = open(&spec, cache.path(), &mut |_| ()).unwrap();
    let mut ranks = Vec::new();
    for question in lines(&data.join("questions.jsonl")) {
        let wanted = question["supporting"][0].as_str().unwrap();
        let found = index
            .retrieve(question["question"].as_str().unwrap(), 5)
            .unwrap();
        ranks.push(found.iter().position(|passage| passage.id == wanted));
    }
    for k in [1, 3, 5] {
        let found = ranks
            .iter()
            .filter(|rank| rank.is_some_and(|rank| rank < k))
            .count();
        eprintln!(
            "quickstart recall@{k} {:.3}",
            found as f64 / ranks.len() as f64
        );
        assert!(
            found * 10 >= ranks.len() * 8,
            "recall@{k}: {found} of {}",
            ranks.len()
        );
    }
}
