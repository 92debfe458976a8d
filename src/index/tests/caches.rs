//! What was computed once, and what does not count as the same.

use super::*;

fn ranked(
    index: &Index,
    questions: &[&str],
    limit: usize,
    reranker: Option<&str>,
    encoders: &mut Fake,
    cache: &Cache,
) -> Vec<Ranking> {
    let queries: Vec<Query> = questions
        .iter()
        .map(|question| Query::plain(question))
        .collect();
    let wanted = Wanted {
        limit,
        reranker: reranker.map(str::to_owned),
    };
    rank(index, &queries, &wanted, encoders, Some(cache), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap()
}

#[test]
fn a_question_is_embedded_searched_and_reranked_once() {
    let place = Place::with_documents(50);
    let (index, _) = place
        .open(&place.spec(RetrieverKind::Dense, "none"))
        .unwrap();
    let cache = Cache::open(&place.cache()).unwrap();
    let mut encoders = Fake::new();
    let first = ranked(
        &index,
        &["word1", "word2"],
        10,
        Some("fake"),
        &mut encoders,
        &cache,
    );
    assert_eq!((encoders.embedded, encoders.scored), (2, 20));
    // Shorter rankings are parts of longer ones.
    let cache = Cache::open(&place.cache()).unwrap();
    let again = ranked(
        &index,
        &["word2", "word3"],
        5,
        Some("fake"),
        &mut encoders,
        &cache,
    );
    assert_eq!((encoders.embedded, encoders.scored), (3, 25));
    assert_eq!(again[0].best(5, 10), first[1].best(5, 10));
    // Longer ones are not.
    ranked(&index, &["word2"], 20, Some("fake"), &mut encoders, &cache);
    assert_eq!(encoders.scored, 45);
    // The vectors of questions serve every search.
    ranked(&index, &["word1"], 10, None, &mut encoders, &cache);
    assert_eq!(encoders.embedded, 3);
    let stats = cache.stats().unwrap();
    assert_eq!(stats.embeddings[0].of, "fake/1");
    assert_eq!(stats.embeddings[0].entries, 3);
    assert_eq!(stats.rankings.len(), 2);
    assert!(stats.bytes > 0);
}

#[test]
fn other_rerankers_and_other_indexes_have_rankings_of_their_own() {
    let place = Place::with_documents(50);
    let spec = place.spec(RetrieverKind::Bm25, "none");
    let (index, _) = place.open(&spec).unwrap();
    let cache = Cache::open(&place.cache()).unwrap();
    let mut encoders = Fake::new();
    let ask = |index: &Index, encoders: &mut Fake| {
        ranked(index, &["common"], 5, Some("fake"), encoders, &cache);
        encoders.scored
    };
    assert_eq!(ask(&index, &mut encoders), 5);
    assert_eq!(ask(&index, &mut encoders), 5);
    encoders.identity = "fake/2".into();
    assert_eq!(ask(&index, &mut encoders), 10);
    let mut other = spec.clone();
    other.options.insert("max_docs".into(), 10.into());
    let (other, _) = place.open(&other).unwrap();
    assert_eq!(ask(&other, &mut encoders), 15);
}

#[test]
fn an_index_is_not_asked_with_the_vectors_of_another_model() {
    let place = Place::with_documents(50);
    let spec = place.spec(RetrieverKind::Dense, "none");
    let (index, _) = place.open(&spec).unwrap();
    let mut encoders = Fake::new();
    encoders.identity = "fake/2".into();
    let wanted = Wanted {
        limit: 5,
        reranker: None,
    };
    let mut tell = |_| ControlFlow::Continue(());
    let query = [Query::plain("word1")];
    let refused = rank(&index, &query, &wanted, &mut encoders, None, &mut tell);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("built with fake/1"), "{refused}");
    // Asked for again, it is built again beside the other.
    let (_, built) = place.open_with(&spec, &mut encoders).unwrap();
    assert_eq!(built, ["dense"]);
}

#[test]
fn clearing_forgets_one_part_and_leaves_the_other() {
    let place = Place::with_documents(50);
    let (index, _) = place
        .open(&place.spec(RetrieverKind::Dense, "none"))
        .unwrap();
    let cache = Cache::open(&place.cache()).unwrap();
    let mut encoders = Fake::new();
    ranked(&index, &["word1", "word2"], 5, None, &mut encoders, &cache);
    assert_eq!(cache.clear(CachePart::Rankings).unwrap(), 2);
    assert!(cache.stats().unwrap().rankings.is_empty());
    ranked(&index, &["word1", "word2"], 5, None, &mut encoders, &cache);
    assert_eq!(encoders.embedded, 2, "their vectors are still there");
    assert_eq!(cache.clear(CachePart::Embeddings).unwrap(), 2);
    assert!(cache.stats().unwrap().embeddings.is_empty());
}

#[test]
fn several_processes_may_write_at_once_and_nothing_is_lost() {
    let place = Place::with_documents(300);
    let (index, _) = place
        .open(&place.spec(RetrieverKind::Bm25, "none"))
        .unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (place, index) = (&place, &index);
            scope.spawn(move || {
                // A connection each, as processes have.
                let cache = Cache::open(&place.cache()).unwrap();
                for number in 0..20 {
                    let question = format!("word{}", writer * 20 + number);
                    ranked(index, &[&question], 3, None, &mut Fake::new(), &cache);
                }
            });
        }
    });
    let stats = Cache::open(&place.cache()).unwrap().stats().unwrap();
    assert_eq!(stats.rankings[0].entries, 80);
}

#[test]
fn a_file_that_is_no_database_is_an_error_in_one_sentence() {
    let place = Place::new(THREE);
    fs::create_dir_all(place.cache()).unwrap();
    fs::write(place.cache().join("cache.sqlite"), [7; 5_000]).unwrap();
    let error = Cache::open(&place.cache()).err().unwrap().to_string();
    assert!(
        error.contains("cache.sqlite") && !error.contains('\n'),
        "{error}"
    );
}
