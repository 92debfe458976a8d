//! BM25, and what all kinds share: corpora, building once, being published.

use super::*;
use crate::domain::{Failure, FailureClass};

fn words(corpus: &Path, chunking: &str) -> RetrieverSpec {
    spec(RetrieverKind::Bm25, corpus, chunking)
}

fn open_words(place: &Place, chunking: &str) -> (Index, Vec<&'static str>) {
    place.open(&words(&place.corpus(), chunking)).unwrap()
}

#[test]
fn passages_are_found_by_words_of_text_and_title() {
    let place = Place::new(THREE);
    let (index, _) = open_words(&place, "none");
    let found = find(&index, "Who is Nora Marfin?", 3);
    assert_eq!(found[0].id, "b");
    assert_eq!(found[0].text, "Nora Marfin plays the piano.");
    assert_eq!(found[0].title, None);
    let found = find(&index, "rivers", 3);
    assert_eq!(ids(&found), ["a"]);
    assert_eq!(found[0].title.as_deref(), Some("Rivers"));
    assert!(found[0].score > 0.0);
    assert_eq!(ids(&find(&index, "RIVER", 3)), ["3", "a"]);
}

#[test]
fn a_query_is_plain_text_whatever_it_holds() {
    let place = Place::new(THREE);
    let (index, _) = open_words(&place, "none");
    let plain = find(&index, "Marfin piano", 3);
    for query in [
        "Marfin AND piano)",
        "\"Marfin piano",
        "+Marfin -piano",
        "text:Marfin^5 piano~2",
        "Marfin [ TO } piano *?\\/",
    ] {
        assert_eq!(find(&index, query, 3)[0].id, plain[0].id, "{query}");
    }
    for nothing in ["", "   ", "?!\"'()", "zzz"] {
        assert!(find(&index, nothing, 3).is_empty(), "{nothing}");
    }
    assert!(find(&index, "river", 0).is_empty());
    assert_eq!(find(&index, "river", usize::MAX).len(), 2);
    let long = "river ".repeat(20_000);
    assert_eq!(find(&index, &long, 5).len(), 2);
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
    let (index, _) = open_words(&place, "none");
    let found = find(&index, "same words", 5);
    assert_eq!(ids(&found), ["p00", "p01", "p02", "p03", "p04"]);
    let more = find(&index, "same words", 50);
    assert_eq!(ids(&more)[..5], ids(&found));
}

#[test]
fn chunks_are_found_one_by_one_and_named_after_their_document() {
    let text = "The first sentence is of rivers. The second sentence is of pianos.";
    let place = Place::new(&format!(
        "{{\"id\":\"d\",\"title\":\"T\",\"text\":\"{text}\"}}"
    ));
    let (index, _) = open_words(&place, "sentence");
    let found = find(&index, "pianos", 2);
    assert_eq!(ids(&found), ["d#1"]);
    assert_eq!(found[0].text, "The second sentence is of pianos.");
    // Every chunk carries its document's title.
    assert_eq!(find(&index, "T", 5).len(), 2);
}

#[test]
fn an_index_is_built_once_and_again_when_anything_in_it_changes() {
    let place = Place::new(THREE);
    let whole = words(&place.corpus(), "none");
    let nothing: [&str; 0] = [];
    assert_eq!(place.open(&whole).unwrap().1, ["bm25"]);
    assert_eq!(place.open(&whole).unwrap().1, nothing);
    let mut renamed = whole.clone();
    renamed.name = "other".into();
    assert_eq!(place.open(&renamed).unwrap().1, nothing);
    assert_eq!(open_words(&place, "fixed").1, ["bm25"]);
    let mut first_two = whole.clone();
    first_two.options.insert("max_docs".into(), 2.into());
    let (index, built) = place.open(&first_two).unwrap();
    assert_eq!(built, ["bm25"]);
    assert_eq!(ids(&find(&index, "river piano", 5)), ["b", "a"]);
    fs::write(place.corpus(), THREE.replace("piano", "flute")).unwrap();
    let (index, built) = place.open(&whole).unwrap();
    assert_eq!(built, ["bm25"]);
    assert_eq!(find(&index, "flute", 1).len(), 1);
    assert_eq!(place.indexes().len(), 4);
}

#[test]
fn a_broken_index_is_set_aside_and_built_anew() {
    let place = Place::new(THREE);
    for (kind, file) in [
        (RetrieverKind::Bm25, "meta.json"),
        (RetrieverKind::Dense, "vectors"),
        (RetrieverKind::Dense, "passages.offsets"),
    ] {
        let spec = place.spec(kind, "none");
        let (index, _) = place.open(&spec).unwrap();
        let directory = index.directories().remove(0);
        fs::remove_file(place.cache().join(&directory).join(file)).unwrap();
        drop(index);
        let (index, built) = place.open(&spec).unwrap();
        assert_eq!(built.len(), 1, "{file}");
        assert_eq!(find(&index, "Nora Marfin", 1)[0].id, "b");
        assert!(place.indexes().contains(&format!("{directory}.broken")));
    }
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
    place
        .open(&place.spec(RetrieverKind::Dense, "none"))
        .unwrap();
    assert!(!dead.exists());
    assert!(living.exists());
}

#[test]
fn several_builders_at_once_end_with_one_whole_index() {
    let corpus: String = (0..2_000)
        .map(|i| format!("{{\"id\":\"p{i}\",\"text\":\"word{} common\"}}\n", i % 50))
        .collect();
    let place = Place::new(&corpus);
    let spec = words(&place.corpus(), "none");
    let answers: Vec<Vec<Passage>> = std::thread::scope(|scope| {
        let builders: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (index, _) = place.open(&spec).unwrap();
                    find(&index, "word7 common", 10)
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
    let place = Place { dir };
    let (index, _) = place.open(&words(&docs, "none")).unwrap();
    let found = find(&index, "pianos", 5);
    assert_eq!(ids(&found), ["deep/b.md"]);
    assert_eq!(found[0].title.as_deref(), Some("The Heading"));
    assert_eq!(find(&index, "rivers", 5)[0].title.as_deref(), Some("a"));
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
    let place = Place { dir };
    for corpus in [&shards, &whole] {
        let (index, _) = place.open(&words(corpus, "none")).unwrap();
        assert_eq!(find(&index, "common", 100).len(), 50);
        let found = find(&index, "word42", 3);
        assert_eq!(ids(&found), ["42"]);
        assert_eq!(found[0].title.as_deref(), Some("T42"));
        // Titles are there for the search, other columns are not.
        assert_eq!(ids(&find(&index, "T7", 3)), ["7"]);
    }
    // Where the shards lie does not matter.
    let moved = place.dir.path().join("moved");
    fs::rename(&shards, &moved).unwrap();
    let (_, built) = place.open(&words(&moved, "none")).unwrap();
    assert!(built.is_empty());

    write_parquet(&moved.join("b.parquet"), WIKIPEDIA, &articles(49..51), 7);
    let error = place.open(&words(&moved, "none")).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("b.parquet:1: id '49' was there before"),
        "{error}"
    );
}

#[test]
fn a_directory_of_other_files_is_told_what_is_read_and_what_is_there() {
    let place = Place::new(THREE);
    let shards = place.cache().join("shards");
    fs::create_dir_all(shards.join("more")).unwrap();
    let open = || {
        let spec = words(&shards, "none");
        place.open(&spec).err().unwrap().to_string()
    };
    assert!(open().contains("and it holds no file"), "{}", open());
    for file in ["0.jsonl", "more/1.jsonl", "LICENSE"] {
        fs::write(shards.join(file), "{}").unwrap();
    }
    let told = open();
    assert!(told.contains(".txt and .md files"), "{told}");
    assert!(told.contains("2 .jsonl files and 1 file;"), "{told}");
}

#[test]
fn a_corpus_that_is_wrong_is_named_with_its_line() {
    for (corpus, wrong) in [
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
        let error = place.open(&words(&place.corpus(), "none")).err().unwrap();
        assert!(error.to_string().contains(wrong), "{error}");
        // Nothing half done is left behind.
        assert!(place.indexes().is_empty(), "{corpus}");
    }
}

#[test]
fn what_is_not_there_is_said_in_one_sentence() {
    let place = Place::new(THREE);
    let refusal = |asked: &RetrieverSpec| place.open(asked).err().unwrap().to_string();
    let missing = words(Path::new("nowhere.jsonl"), "none");
    assert!(refusal(&missing).contains("no corpus 'nowhere.jsonl'"));
    let with = |kind, key: &str, value: serde_json::Value| {
        let mut spec = place.spec(kind, "none");
        spec.options.insert(key.into(), value);
        refusal(&spec)
    };
    for (kind, key, value, words) in [
        (
            RetrieverKind::Bm25,
            "k1",
            0.9.into(),
            "k1 is 1.2 and can not be 0.9",
        ),
        (
            RetrieverKind::Dense,
            "index_type",
            "ivf".into(),
            "write flat or hnsw",
        ),
        (
            RetrieverKind::Hybrid,
            "sparse_method",
            "tfidf".into(),
            "write bm25",
        ),
        (
            RetrieverKind::Hierarchical,
            "parent_chunk_size",
            5.into(),
            "child_chunk_size 40",
        ),
    ] {
        let refusal = with(kind, key, value);
        assert!(refusal.contains(words), "{refusal}");
        assert!(refusal.contains("'mine'"), "{refusal}");
    }
    let mut other_model = place.spec(RetrieverKind::Dense, "none");
    other_model.embedding = Some("nobody".into());
    assert_eq!(refusal(&other_model), "there is no model nobody");
}

#[test]
fn a_disk_that_fails_stops_the_study_and_a_wrong_corpus_only_its_experiments() {
    use rustix::io::Errno;
    for (errno, class) in [
        (Errno::NOSPC, FailureClass::Environment),
        (Errno::DQUOT, FailureClass::Environment),
        (Errno::ROFS, FailureClass::Environment),
        (Errno::IO, FailureClass::Environment),
        (Errno::NOENT, FailureClass::Permanent),
        (Errno::ACCESS, FailureClass::Permanent),
    ] {
        let error = IndexError::Io {
            path: "x".into(),
            source: errno.into(),
        };
        assert_eq!(Failure::from(error).class, class, "{errno}");
    }
    let missing = IndexError::CorpusEmpty { path: "x".into() };
    assert_eq!(Failure::from(missing).class, FailureClass::Permanent);
}

#[test]
fn what_the_system_said_is_found_in_what_the_engine_says() {
    use tantivy::{TantivyError, directory::error::OpenWriteError};
    let plain = || std::io::Error::from_raw_os_error(5);
    let hidden = std::io::Error::other(format!("{} at path x", plain()));
    for error in [
        TantivyError::from(plain()),
        TantivyError::from(OpenWriteError::wrap_io_error(plain(), "x".into())),
        TantivyError::from(OpenWriteError::wrap_io_error(hidden, "x".into())),
        TantivyError::InternalError(plain().to_string()),
    ] {
        let engine_error = bm25::engine_error(Path::new("index"));
        let failure = Failure::from(engine_error(error));
        assert_eq!(failure.class, FailureClass::Environment);
        assert!(failure.message.starts_with("index: Input/output error"));
    }
}
