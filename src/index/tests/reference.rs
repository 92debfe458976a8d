//! BM25 against values that were computed elsewhere.

use super::*;
use std::{collections::HashMap, time::Instant};

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
    let place = Place { dir: cache };
    let spec = spec(RetrieverKind::Bm25, &data.join("corpus.jsonl"), "none");
    let started = Instant::now();
    let (index, _) = place.open(&spec).unwrap();
    let build = started.elapsed();
    let queries: Vec<serde_json::Value> = lines(&data.join("queries.jsonl"))
        .into_iter()
        .step_by(10)
        .collect();
    assert_eq!(queries.len(), 1_057);
    let started = Instant::now();
    let texts: Vec<&str> = queries
        .iter()
        .map(|q| q["text"].as_str().unwrap())
        .collect();
    let found = rankings(&index, &texts, 10, &mut Fake::new());
    let ranks: Vec<Option<usize>> = queries
        .iter()
        .zip(&found)
        .map(|(query, ranking)| {
            let wanted = &relevant[query["_id"].as_str().unwrap()];
            let hits = ranking.best(10, 10);
            hits.iter().position(|hit| hit.id == *wanted)
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
    let place = Place {
        dir: tempfile::tempdir().unwrap(),
    };
    let spec = spec(
        RetrieverKind::Bm25,
        &data.join("encyclopedia.jsonl"),
        "none",
    );
    let (index, _) = place.open(&spec).unwrap();
    let mut ranks = Vec::new();
    for question in lines(&data.join("questions.jsonl")) {
        let wanted = question["supporting"][0].as_str().unwrap();
        let found = find(&index, question["question"].as_str().unwrap(), 5);
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
