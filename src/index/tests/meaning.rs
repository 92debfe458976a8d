//! Dense, hybrid and hierarchical search, and rerankers.

use super::{encoders::FakeDevice, *};

#[test]
fn the_nearest_passages_are_found_with_their_texts() {
    let place = Place::new(THREE);
    let (index, built) = place
        .open(&place.spec(RetrieverKind::Dense, "none"))
        .unwrap();
    assert_eq!(built, ["passages", "dense"]);
    let found = find(&index, "Nora Marfin piano", 3);
    assert_eq!(found.len(), 3, "every passage has a distance");
    assert_eq!(found[0].id, "b");
    assert_eq!(found[0].text, "Nora Marfin plays the piano.");
    let whole = find(&index, "The Warbora is a river of 336 km.", 1).remove(0);
    assert_eq!(whole.title.as_deref(), Some("Rivers"));
    assert!((whole.score - 1.0).abs() < 1e-6, "{}", whole.score);
}

#[test]
fn equal_vectors_stand_in_the_order_of_their_ids_also_at_the_border() {
    let corpus: String = (0..200)
        .map(|i| {
            format!(
                "{{\"id\":\"p{:03}\",\"text\":\"same words\"}}\n",
                (i * 37) % 200
            )
        })
        .collect();
    let place = Place::new(&corpus);
    let (index, _) = place
        .open(&place.spec(RetrieverKind::Dense, "none"))
        .unwrap();
    let found = find(&index, "same words", 5);
    assert_eq!(ids(&found), ["p000", "p001", "p002", "p003", "p004"]);
    assert_eq!(find(&index, "same words", 150)[149].id, "p149");
}

#[test]
fn a_search_finds_the_same_whatever_is_searched_beside_it_and_however_much() {
    let place = Place::with_documents(700);
    let (index, _) = place
        .open(&place.spec(RetrieverKind::Hybrid, "none"))
        .unwrap();
    let questions: Vec<String> = (0..200).map(|i| format!("word{i} ten{}", i % 7)).collect();
    let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
    let together = rankings(&index, &questions, 20, &mut Fake::new());
    for at in [0, 57, 199] {
        let alone = rankings(&index, &questions[at..=at], 20, &mut Fake::new());
        assert_eq!(alone[0], together[at]);
        let short = rankings(&index, &questions[at..=at], 3, &mut Fake::new());
        assert_eq!(short[0].best(3, 3), together[at].best(3, 3));
    }
}

#[test]
fn what_a_device_finds_is_what_is_found_here_and_one_that_fails_costs_nothing() {
    let place = Place::with_documents(700);
    let questions: Vec<String> = (0..20).map(|i| format!("word{i} ten{}", i % 7)).collect();
    let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
    for kind in [RetrieverKind::Dense, RetrieverKind::Hybrid] {
        let (index, _) = place.open(&place.spec(kind, "none")).unwrap();
        let here = rankings(&index, &questions, 20, &mut Fake::new());
        for (is_broken, left_out) in [(false, 0), (true, 0), (false, 1)] {
            let mut fake = Fake::new();
            fake.device = Some(FakeDevice {
                is_broken,
                left_out,
                ..FakeDevice::default()
            });
            assert_eq!(rankings(&index, &questions, 20, &mut fake), here);
            let searched = fake.device.unwrap().searched;
            assert_eq!(searched, if is_broken { 0 } else { questions.len() });
        }
    }
}

#[test]
fn half_precision_takes_half_the_space_and_finds_the_same_here() {
    let place = Place::with_documents(300);
    let full = place.spec(RetrieverKind::Dense, "none");
    let mut half = full.clone();
    half.options.insert("vector_dtype".into(), "f16".into());
    let (full, _) = place.open(&full).unwrap();
    let (half, built) = place.open(&half).unwrap();
    assert_eq!(built, ["dense"], "the texts are shared");
    let size = |index: &Index| {
        let path = place.cache().join(&index.directories()[0]).join("vectors");
        fs::metadata(path).unwrap().len() - 64
    };
    assert_eq!(size(&half) * 2, size(&full));
    assert_eq!(find(&half, "word17 ten7", 1), {
        let mut found = find(&full, "word17 ten7", 1);
        found[0].score = find(&half, "word17 ten7", 1)[0].score;
        found
    });
}

#[test]
fn hybrid_search_shares_the_parts_of_others_and_fuses_what_both_find() {
    let place = Place::new(THREE);
    place
        .open(&place.spec(RetrieverKind::Dense, "none"))
        .unwrap();
    let hybrid = place.spec(RetrieverKind::Hybrid, "none");
    let (index, built) = place.open(&hybrid).unwrap();
    assert_eq!(built, ["bm25"]);
    let found = find(&index, "Nora Marfin piano", 3);
    assert_eq!(found[0].id, "b");
    assert!((found[0].score - 2.0 / 61.0).abs() < 1e-12, "first in both");
    // BM25 knows two of three, the vectors all.
    assert_eq!(found.len(), 3);

    let weighted = |alpha: f64| {
        let mut spec = hybrid.clone();
        spec.options.insert("alpha".into(), alpha.into());
        let (index, built) = place.open(&spec).unwrap();
        assert!(built.is_empty());
        find(&index, "rivers river", 3)
    };
    let sparse = weighted(0.0);
    assert_eq!(sparse[0].id, "a", "the title counts for words");
    assert!((sparse[0].score - 1.0).abs() < 1e-12);
    let dense = weighted(1.0);
    assert_eq!(dense[0].id, "3", "the text alone counts for vectors");
}

#[test]
fn hierarchical_search_finds_by_children_and_returns_parents_once() {
    let sentences = [
        "The river is long and wide.",
        "The piano is old and loud.",
        "The piano has black keys.",
        "The mountain is high.",
    ];
    let corpus = format!(
        "{{\"id\":\"long\",\"text\":\"{}\"}}\n{{\"id\":\"short\",\"text\":\"A piano.\"}}\n",
        sentences.join(" ")
    );
    let place = Place::new(&corpus);
    let mut spec = place.spec(RetrieverKind::Hierarchical, "sentence");
    for (key, size) in [("parent_chunk_size", 60), ("child_chunk_size", 30)] {
        spec.options.insert(key.into(), size.into());
    }
    let (index, built) = place.open(&spec).unwrap();
    assert_eq!(built, ["passages", "dense"]);
    let found = find(&index, "The piano has black keys", 5);
    // Two parents of the long document and the short document, each once.
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].id, "long#1");
    assert_eq!(found[0].text, format!("{} {}", sentences[2], sentences[3]));
    assert!(found[0].score > 0.99, "it is the child that is compared");

    // Without a size of their own, parents are whole documents.
    let whole = place.spec(RetrieverKind::Hierarchical, "none");
    let (index, _) = place.open(&whole).unwrap();
    let found = find(&index, "The mountain is high", 1);
    assert_eq!(found[0].id, "long");
    assert_eq!(found[0].text, sentences.join(" "));
}

#[test]
fn chunks_can_be_measured_in_the_tokens_of_the_model() {
    let place = Place::new("{\"id\":\"d\",\"text\":\"abc def ghi jkl\"}\n");
    let mut spec = place.spec(RetrieverKind::Dense, "token");
    spec.chunk_size = 6;
    let (index, _) = place.open(&spec).unwrap();
    let mut found = find(&index, "def", 5);
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let texts: Vec<&str> = found.iter().map(|passage| passage.text.as_str()).collect();
    assert_eq!(texts, ["abc def", "ghi jkl"]);
}

/// Twelve words each, of five hundred.
fn varied(count: usize) -> Vec<String> {
    let mut state = 1_u64;
    let mut word = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        format!("w{}", (state >> 33) % 500)
    };
    let mut text = || (0..12).map(|_| word()).collect::<Vec<_>>().join(" ");
    (0..count).map(|_| text()).collect()
}

#[test]
fn a_graph_finds_nearly_what_the_exact_search_does_and_says_how_nearly() {
    let texts = varied(3_000);
    let rows = texts.iter().enumerate();
    let corpus: String = rows
        .map(|(i, text)| format!("{{\"id\":\"p{i:04}\",\"text\":\"{text}\"}}\n"))
        .collect();
    let place = Place::new(&corpus);
    let exact = place.spec(RetrieverKind::Dense, "none");
    let mut graph = exact.clone();
    graph.options.insert("index_type".into(), "hnsw".into());
    let (exact, _) = place.open(&exact).unwrap();
    let mut measured = None;
    let graph = place
        .open_telling(&graph, &mut Fake::new(), &mut |progress| {
            if let BuildProgress::Recall { recall, queries } = progress {
                measured = Some((recall, queries));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let (recall, queries) = measured.unwrap();
    eprintln!("recall {recall} of {queries} queries");
    assert!(recall > 0.9 && queries == 100, "{recall} of {queries}");
    let found = find(&graph, &texts[1_234], 1);
    assert_eq!(found[0].id, "p1234");
    assert_eq!(found, find(&exact, &texts[1_234], 1));
    assert_ne!(
        graph.identity(),
        exact.identity(),
        "rankings are cached apart"
    );
    assert!(place.indexes().iter().any(|name| name.starts_with("hnsw-")));
}

#[test]
fn shards_of_a_graph_find_what_one_would() {
    let place = Place::with_documents(5_000);
    let (index, _) = place
        .open(&place.spec(RetrieverKind::Dense, "none"))
        .unwrap();
    let directory = place.cache().join(&index.directories()[0]);
    let vectors = vectors::Vectors::open(&directory).unwrap();
    let mut tell = |_| ControlFlow::Continue(());
    let graph = graph::open_with(&place.cache(), "test", &vectors, 1, &mut tell).unwrap();
    let name = place
        .indexes()
        .into_iter()
        .find(|name| name.starts_with("hnsw-"));
    let files = fs::read_dir(place.cache().join(name.unwrap())).unwrap();
    let shards = files
        .filter(|file| {
            file.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("shard-")
        })
        .count();
    assert_eq!(shards, 3);
    let mut hits = 0;
    for row in (0..5_000).step_by(250) {
        let query = vectors.read_block(row..row + 1).unwrap();
        // Which of equally near ones are found does not matter.
        let nearest = |found: &u32| {
            let found = *found as usize;
            let vector = vectors.read_block(found..found + 1).unwrap();
            vector.iter().zip(&query).map(|(a, b)| a * b).sum::<f32>()
        };
        let itself: f32 = query.iter().map(|value| value * value).sum();
        let found = graph.near(&query, 20).unwrap();
        hits += usize::from(
            found
                .iter()
                .map(nearest)
                .any(|score| score >= itself - 1e-5),
        );
    }
    // Threads link vectors in an order that differs from build to build.
    assert!(hits >= 17, "{hits} of 20");
}

#[test]
fn a_reranker_reorders_its_candidates_and_one_ranking_serves_every_cut() {
    let place = Place::with_documents(60);
    let (index, _) = place
        .open(&place.spec(RetrieverKind::Bm25, "none"))
        .unwrap();
    let mut encoders = Fake::new();
    let wanted = Wanted {
        limit: 20,
        reranker: Some("fake".into()),
    };
    let question = Query::plain("common word7 ten7");
    let mut tell = |_| ControlFlow::Continue(());
    let rankings = rank(
        &index,
        std::slice::from_ref(&question),
        &wanted,
        &mut encoders,
        None,
        &mut tell,
    );
    let ranking = &rankings.unwrap()[0];
    assert_eq!(encoders.scored, 20);
    let best = ranking.best(3, 20);
    let scores: Vec<f64> = best.iter().map(|hit| hit.score).collect();
    assert_eq!(scores, [3.0, 2.0, 2.0]);
    assert_eq!(best[0].id, "p0007");
    // What stands for a question is searched for, and the question compared.
    let reworded = Query {
        text: "common word9",
        question: "word7",
    };
    let again = rank(&index, &[reworded], &wanted, &mut encoders, None, &mut tell).unwrap();
    assert_eq!(again[0].best(20, 1)[0].id, "p0009");
    assert_eq!(again[0].best(1, 20)[0].id, "p0007");
    // With two candidates, only those two can win.
    let two = ranking.best(5, 2);
    assert_eq!(two.len(), 2);
}
