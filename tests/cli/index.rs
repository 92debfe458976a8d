//! `ragicamp index` and `ragicamp cache`.

use super::place::{Done, Place, shipped};
use serde_json::Value;

/// Documents of made-up words, which the tiny models of the fixtures know.
fn corpus() -> String {
    (0..30)
        .map(|i| {
            let text = format!("w{i} w{} w{}", (i * 7 + 1) % 60, (i * 11 + 2) % 60);
            format!("{{\"id\":\"d{i}\",\"title\":\"Title {i}\",\"text\":\"{text}\"}}\n")
        })
        .collect()
}

fn place() -> Place {
    let place = Place::new();
    place.write("corpus.jsonl", &corpus());
    place
}

fn embedder() -> String {
    format!("hf:{}", shipped("tests/fixtures/encoders/bert_cls"))
}

fn build(place: &Place, kind: &str, more: &[&str]) -> Done {
    let model = embedder();
    let mut arguments = vec!["index", "build", "--corpus", "corpus.jsonl", "--kind", kind];
    if kind != "bm25" {
        arguments.extend(["--embedding", &model]);
    }
    place.ok(&[&arguments[..], more].concat())
}

fn json(done: &Done) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:#?}"))
}

#[test]
fn an_index_is_built_listed_searched_checked_and_dropped() {
    let place = place();
    assert!(
        place
            .ok(&["index", "list"])
            .out
            .contains("there is no index")
    );
    let built = build(&place, "bm25", &["--name", "words"]);
    assert!(built.out.starts_with("words: here (bm25-"), "{built:#?}");
    assert!(
        built
            .err
            .contains("building the index words of corpus.jsonl")
    );
    let again = build(&place, "bm25", &["--name", "words"]);
    assert!(!again.err.contains("building"), "{again:#?}");

    let list = json(&place.ok(&["index", "list", "--json"]));
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["retrievers"][0], "words");
    assert_eq!(list[0]["manifest"]["passages"], 30);
    let shown = place.ok(&["index", "list"]).out;
    assert!(
        shown.contains("words") && shown.contains("ready"),
        "{shown}"
    );

    let found = json(&place.ok(&["index", "search", "words", "w3", "-k", "3", "--json"]));
    // All three hold it once; ties are in the order of ids.
    let titles: Vec<&Value> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| &hit["title"])
        .collect();
    assert_eq!(titles, ["Title 11", "Title 26", "Title 3"]);
    assert_eq!(found[0]["score"], found[2]["score"]);
    let shown = place.ok(&["index", "search", "words", "w3"]).out;
    assert!(shown.starts_with("1. ") && shown.contains("d3"), "{shown}");
    let nothing = place.ok(&["index", "search", "words", "zebra"]).out;
    assert_eq!(nothing, "nothing is found\n");

    let whole = place.ok(&["index", "verify"]).out;
    assert!(whole.contains(": whole"), "{whole}");
    let directory = list[0]["directory"].as_str().unwrap();
    let file = format!("cache/ragicamp/{directory}/meta.json");
    let damaged = place.text(&file) + " ";
    place.write(&file, &damaged);
    let damage = place.exits(1, &["index", "verify", "words"]).out;
    assert!(damage.contains("meta.json has"), "{damage}");

    let dropped = place.ok(&["index", "drop", "words"]).out;
    assert_eq!(dropped, format!("dropped {directory}\n"));
    assert!(
        place
            .ok(&["index", "list"])
            .out
            .contains("there is no index")
    );
}

#[test]
fn passages_are_found_by_their_vectors_through_a_worker() {
    let place = place();
    let built = build(&place, "hybrid", &["--name", "both"]);
    assert!(built.out.contains("dense-"), "{built:#?}");
    let whole = json(&place.ok(&["index", "search", "dense", "w3 w22 w35", "--json"]));
    assert_eq!(whole[0]["id"], "d3", "{whole:#}");
    let both = json(&place.ok(&["index", "search", "both", "w3 w22 w35", "--json", "-k", "3"]));
    assert_eq!(both.as_array().unwrap().len(), 3);
    assert_eq!(both[0]["id"], "d3");

    let scorer = format!("hf:{}", shipped("tests/fixtures/encoders/bert_ranker"));
    let reranked = json(&place.ok(&[
        "index",
        "search",
        "both",
        "w3",
        "--json",
        "-k",
        "2",
        "--reranker",
        &scorer,
        "--fetch-k",
        "9",
    ]));
    assert_eq!(reranked.as_array().unwrap().len(), 2);

    // What was computed is kept, and can be forgotten.
    let stats = json(&place.ok(&["cache", "stats", "--json"]));
    let entries = |part: &str| -> u64 {
        let shares = stats[part].as_array().unwrap().iter();
        shares.map(|share| share["entries"].as_u64().unwrap()).sum()
    };
    assert_eq!(entries("embeddings"), 30 + 2, "passages and questions");
    assert_eq!(entries("rankings"), 3);
    assert!(place.ok(&["cache", "stats"]).out.contains("rankings"));
    let cleared = place.ok(&["cache", "clear", "--rankings"]).out;
    assert_eq!(cleared, "3 rankings forgotten\n");
    assert_eq!(
        place.ok(&["cache", "clear"]).out,
        "32 vectors forgotten\n0 rankings forgotten\n"
    );
}

#[test]
fn retrieval_is_measured_on_files_in_beirs_layout() {
    let place = place();
    build(&place, "bm25", &["--name", "words"]);
    place.write(
        "queries.jsonl",
        "{\"_id\":\"q1\",\"text\":\"w3 w22 w35\"}\n{\"_id\":\"q2\",\"text\":\"w5\"}\n{\"_id\":\"q3\",\"text\":\"w6\"}\n",
    );
    place.write(
        "qrels.tsv",
        "query-id\tcorpus-id\tscore\nq1\td3\t1\nq2\td999\t1\n",
    );
    let arguments = [
        "index",
        "eval",
        "words",
        "--queries",
        "queries.jsonl",
        "--qrels",
        "qrels.tsv",
    ];
    let scores = json(&place.ok(&[&arguments[..], &["--json"]].concat()));
    let directory = scores["directories"][0].as_str().unwrap();
    assert!(directory.starts_with("bm25-"), "{scores:#}");
    let found = json(&place.ok(&["index", "search", "words", "w3", "--json"]));
    assert_eq!(found[0]["directories"][0], directory, "{found:#}");
    assert_eq!(scores["queries"], 2, "q3 has no relevant document");
    for metric in ["recall@1", "recall@5", "recall@10", "mrr@10", "ndcg@10"] {
        assert_eq!(scores[metric], 0.5, "{scores:#}");
    }
    let shown = place.ok(&arguments).out;
    assert!(shown.contains("recall@10  0.5000"), "{shown}");
    // A byte order mark belongs to no id.
    place.write("qrels.tsv", "\u{feff}q1\td3\t1\nq2\td999\t1\n");
    let marked = place.ok(&arguments).out;
    assert!(marked.contains("recall@10  0.5000"), "{marked}");

    place.write("qrels.tsv", "q1\td3\tgood\nq1\td3\tgood\n");
    let wrong = place.exits(2, &arguments).err;
    assert!(
        wrong.contains("qrels.tsv:2: the score 'good' is no number"),
        "{wrong}"
    );
    place.write("qrels.tsv", "other\td3\t1\n");
    let wrong = place.exits(2, &arguments).err;
    assert!(wrong.contains("are they of one dataset?"), "{wrong}");
}

#[test]
fn documents_whose_ids_hold_a_number_sign_are_told_apart() {
    let place = Place::new();
    let lines: String = (0..4)
        .map(|n| {
            format!(
                "{{\"id\":\"a#{n}\",\"text\":\"apple{}\"}}\n",
                " pear".repeat(n)
            )
        })
        .collect();
    place.write("corpus.jsonl", &lines);
    build(&place, "bm25", &["--name", "words", "--chunking", "none"]);
    place.write("queries.jsonl", "{\"_id\":\"q\",\"text\":\"apple\"}\n");
    // The longest is found last.
    place.write("qrels.tsv", "q\ta#3\t1\n");
    let arguments = ["index", "eval", "words", "--queries", "queries.jsonl"];
    let arguments = [&arguments[..], &["--qrels", "qrels.tsv", "--json"]].concat();
    let scores = json(&place.ok(&arguments));
    assert_eq!(scores["mrr@10"], 0.25, "{scores:#}");
}

#[test]
fn what_is_wrong_is_one_sentence_with_a_way_out() {
    let place = place();
    build(&place, "bm25", &["--name", "words"]);
    for (arguments, words) in [
        (
            &["index", "search", "wrods", "w3"][..],
            "did you mean 'words'?",
        ),
        (
            &["index", "drop", "nothing_like_it_at_all"],
            "`ragicamp index list`",
        ),
        (
            &["index", "build", "--corpus", "nowhere.jsonl"],
            "no corpus 'nowhere.jsonl'",
        ),
        (
            &[
                "index",
                "build",
                "--corpus",
                "corpus.jsonl",
                "--kind",
                "dense",
            ],
            "--embedding",
        ),
        (
            &[
                "index",
                "build",
                "--corpus",
                "corpus.jsonl",
                "--embedding",
                "minilm",
            ],
            "write --kind dense",
        ),
        (
            &[
                "index",
                "build",
                "--corpus",
                "corpus.jsonl",
                "--kind",
                "dense",
                "--embedding",
                "minilmm",
            ],
            "minilm, mpnet, e5",
        ),
        (
            &[
                "index",
                "build",
                "--corpus",
                "corpus.jsonl",
                "--kind",
                "bm52",
            ],
            "'bm25'",
        ),
        (&["index", "build"], "required"),
    ] {
        let done = place.call(arguments);
        let said = format!("{}{}", done.out, done.err);
        assert_eq!(done.code, 2, "{arguments:?}: {done:#?}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn the_indexes_of_a_study_are_built_before_it_runs() {
    let place = place();
    let model = embedder();
    place.write(
        "questions.jsonl",
        "{\"id\":\"a\",\"question\":\"w3 w22 w35\",\"answers\":[\"w3\"],\"supporting\":[\"d3\"]}\n\
         {\"id\":\"b\",\"question\":\"w4 w29 w46\",\"answers\":[\"w4\"],\"supporting\":[\"d4\"]}\n",
    );
    place.write(
        "dense.yaml",
        &format!(
            "name: s
datasets: [{{name: words, path: questions.jsonl}}]
rag:
  models: ['embedded:reader']
  corpus: corpus.jsonl
  retrievers:
    - {{name: words, type: bm25}}
    - {{name: vectors, type: dense, embedding_model: '{model}'}}
    - {{name: both, type: hybrid, embedding_model: '{model}'}}
  top_k_values: [1, 3]
  prompts: [default]
  quantization: [none]
generation: {{max_new_tokens: 2, temperature: 0}}
metrics: [recall@1, mrr]
batch_size: 4
"
        ),
    );
    let built = place.ok(&["index", "build", "dense.yaml"]);
    assert_eq!(built.out.lines().count(), 3, "{built:#?}");
    let ran = place.ok(&["run", "dense.yaml"]);
    assert!(ran.out.contains("6 complete, 0 failed"), "{ran:#?}");
    assert!(!ran.err.contains("building"), "{ran:#?}");
    for retriever in ["words", "vectors", "both"] {
        for top_k in [1, 3] {
            let directory =
                format!("outputs/s/rag_embedded_reader_{retriever}_k{top_k}_default_words_none");
            let predictions = place.json(&format!("{directory}/predictions.json"));
            let retrieved = predictions["predictions"][0]["retrieved"]
                .as_array()
                .unwrap();
            assert_eq!(retrieved.len(), top_k, "{retriever}");
            assert_eq!(retrieved[0]["id"], "d3", "{retriever}");
            assert!(retrieved[0]["score"].is_number());
            let results = place.json(&format!("{directory}/results.json"));
            assert_eq!(results["metrics"]["recall@1"], 1.0, "{retriever}");
        }
    }
    // A finished study needs no model, not even to see that it is finished.
    let again = place.ok(&["run", "dense.yaml"]);
    assert!(again.out.contains("0 model loads"), "{again:#?}");
}

#[test]
fn an_embedding_model_that_is_missing_fails_its_own_cells_only() {
    let place = place();
    place.write(
        "missing.yaml",
        "name: m
datasets: [{name: words, path: questions.jsonl}]
rag:
  models: ['embedded:reader']
  corpus: corpus.jsonl
  retrievers:
    - {name: words, type: bm25}
    - {name: vectors, type: dense, embedding_model: minilm}
  top_k_values: [1]
  prompts: [default]
  quantization: [none]
generation: {max_new_tokens: 2, temperature: 0}
metrics: [exact_match]
",
    );
    place.write(
        "questions.jsonl",
        "{\"question\":\"w3\",\"answers\":[\"w3\"]}\n",
    );
    let ran = place.exits(1, &["run", "missing.yaml"]);
    assert!(ran.out.contains("1 complete, 1 failed"), "{ran:#?}");
    let state =
        place.json("outputs/m/rag_embedded_reader_vectors_k1_default_words_none/state.json");
    let error = state["error"].as_str().unwrap();
    assert!(error.contains("all-MiniLM-L6-v2"), "{error}");
    assert!(error.contains("ragicamp fetch"), "{error}");
}

#[test]
fn an_index_that_another_process_builds_is_waited_for_in_one_line() {
    let place = place();
    build(&place, "bm25", &["--name", "words"]);
    let list = json(&place.ok(&["index", "list", "--json"]));
    let directory = list[0]["directory"].as_str().unwrap();
    place.ok(&["index", "drop", "words"]);
    let lock = place.path(&format!("cache/ragicamp/.locks/{directory}"));
    let lock = std::fs::File::create(lock).unwrap();
    lock.lock().unwrap();
    let arguments = ["index", "build", "--corpus", "corpus.jsonl"];
    let mut command = place.command(&[&arguments[..], &["--kind", "bm25"]].concat());
    let builder = std::thread::spawn(move || super::place::done(&mut command));
    // Long enough for it to look again and again.
    std::thread::sleep(std::time::Duration::from_secs(2));
    drop(lock);
    let built = builder.join().unwrap();
    let line = "another process is building this index";
    assert_eq!(built.err.matches(line).count(), 1, "{built:#?}");
}

#[test]
fn a_name_that_moves_to_another_index_is_told() {
    let place = place();
    build(&place, "bm25", &["--name", "words"]);
    place.write("corpus.jsonl", "{\"id\":\"x\",\"text\":\"other\"}\n");
    let moved = build(&place, "bm25", &["--name", "words"]);
    assert!(
        moved.err.contains("the name words meant the index bm25-"),
        "{moved:#?}"
    );
    let again = build(&place, "bm25", &["--name", "words"]);
    assert!(!again.err.contains("meant the index"), "{again:#?}");
}
