#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::{RetrieverKind, RetrieverSpec};
use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};
use unicode_segmentation::UnicodeSegmentation;

fn spec(chunking: &str, size: usize, overlap: usize) -> RetrieverSpec {
    RetrieverSpec {
        name: "mine".into(),
        kind: RetrieverKind::Bm25,
        corpus: "c.jsonl".into(),
        embedding: None,
        chunking: chunking.into(),
        chunk_size: size,
        chunk_overlap: overlap,
        options: Default::default(),
    }
}

fn texts(strategy: Strategy, size: usize, overlap: usize, text: &str) -> Vec<&str> {
    let chunking = Chunking::new(strategy, size, overlap).unwrap();
    chunking
        .chunks("d", text)
        .into_iter()
        .map(|chunk| chunk.text)
        .collect()
}

#[test]
fn without_chunking_a_passage_is_the_document_under_its_own_id() {
    let chunking = Chunking::of(&spec("none", 0, 50)).unwrap();
    let chunks = chunking.chunks("d", " a b \n");
    assert_eq!(chunks.len(), 1);
    assert_eq!(
        (chunks[0].id.as_str(), chunks[0].range.clone()),
        ("d", 1..4)
    );
    assert!(chunking.chunks("d", " \n ").is_empty());
}

#[test]
fn fixed_windows_share_their_overlap_and_never_split_a_character() {
    assert_eq!(
        texts(Strategy::Fixed, 4, 1, "abcdefgh"),
        ["abcd", "defg", "gh"]
    );
    assert_eq!(texts(Strategy::Fixed, 4, 0, "abcdefgh"), ["abcd", "efgh"]);
    assert_eq!(texts(Strategy::Fixed, 2, 0, "äöü"), ["äö", "ü"]);
}

#[test]
fn chunks_of_one_document_are_numbered_and_know_their_place() {
    let chunking = Chunking::new(Strategy::Fixed, 3, 0).unwrap();
    let text = "äb cd";
    let chunks = chunking.chunks("doc", text);
    let ids: Vec<&str> = chunks.iter().map(|chunk| chunk.id.as_str()).collect();
    assert_eq!(ids, ["doc#0", "doc#1"]);
    assert_eq!(&text[chunks[1].range.clone()], "cd");
}

#[test]
fn sentences_stay_whole_where_they_fit_and_overlap_by_whole_sentences() {
    let text = "One is here. Two is here. Three is here. Four.";
    assert_eq!(
        texts(Strategy::Sentence, 28, 0, text),
        ["One is here. Two is here.", "Three is here. Four."]
    );
    assert_eq!(
        texts(Strategy::Sentence, 30, 13, text),
        [
            "One is here. Two is here.",
            "Two is here. Three is here.",
            "Four."
        ]
    );
    assert_eq!(
        texts(Strategy::Sentence, 8, 0, "Endlessly long. Ok."),
        ["Endlessl", "y long.", "Ok."]
    );
}

#[test]
fn recursive_prefers_paragraphs_to_lines_to_sentences() {
    let text = "First paragraph. It is short.\n\nSecond one.\nWith a line.";
    assert_eq!(
        texts(Strategy::Recursive, 32, 0, text),
        ["First paragraph. It is short.", "Second one.\nWith a line."]
    );
    assert_eq!(
        texts(Strategy::Recursive, 20, 0, text)[..2],
        ["First paragraph.", "It is short."]
    );
}

/// Pairs of characters, as the pieces of a tokenizer.
struct Pairs;

impl TokenBorders for Pairs {
    fn borders(&self, text: &str) -> Vec<std::ops::Range<usize>> {
        let mut tokens = Vec::new();
        for (start, word) in text.split_word_bound_indices() {
            let starts: Vec<usize> = word.char_indices().map(|(at, _)| start + at).collect();
            if word.trim().is_empty() {
                continue;
            }
            for pair in starts.chunks(2) {
                let last = pair[pair.len() - 1];
                let width = text[last..].chars().next().unwrap().len_utf8();
                tokens.push(pair[0]..last + width);
            }
        }
        tokens
    }

    fn identity(&self) -> &str {
        "pairs"
    }
}

#[test]
fn tokens_are_counted_and_words_are_not_torn_where_that_costs_little() {
    // Without a model a word is a token.
    assert_eq!(
        texts(Strategy::Token, 3, 1, "one two three four five"),
        ["one two three", "three four five"]
    );
    let chunking = Chunking::new(Strategy::Token, 4, 0).unwrap();
    let chunking = chunking.with_tokens(std::sync::Arc::new(Pairs));
    assert!(chunking.identity().ends_with("of pairs"));
    let cut = |text| -> Vec<String> {
        let chunks = chunking.chunks("d", text);
        chunks
            .into_iter()
            .map(|chunk| chunk.text.to_owned())
            .collect()
    };
    // ab cd | ef | gh ij: the fourth token would tear the last word.
    assert_eq!(cut("abcd ef ghij"), ["abcd ef", "ghij"]);
    // A word of more tokens than a chunk is torn after all.
    assert_eq!(cut("abcdefghijkl"), ["abcdefgh", "ijkl"]);
    assert!(cut(" \n ").is_empty());
}

#[test]
fn a_chunking_that_can_not_work_is_refused_in_one_sentence() {
    for (chunking, size, overlap, word) in [
        ("semantic", 10, 0, "unknown"),
        ("token", 10, 10, "smaller"),
        ("fixed", 10, 10, "smaller"),
        ("recursive", 0, 0, "smaller"),
    ] {
        let error = Chunking::of(&spec(chunking, size, overlap))
            .unwrap_err()
            .to_string();
        assert!(error.contains(word) && error.contains("'mine'"), "{error}");
    }
}

#[test]
fn identities_differ_exactly_where_chunks_may() {
    let identity = |chunking, size, overlap| {
        Chunking::of(&spec(chunking, size, overlap))
            .unwrap()
            .identity()
    };
    assert_eq!(identity("none", 100, 5), identity("none", 0, 0));
    assert_ne!(identity("fixed", 100, 5), identity("fixed", 100, 6));
    assert_ne!(identity("fixed", 100, 5), identity("sentence", 100, 5));
}

#[test]
fn weighted_fusion_weighs_scores_of_different_scales() {
    let dense = [("a", 0.9), ("b", 0.5), ("c", 0.1)];
    let sparse = [("c", 30.0), ("d", 10.0), ("b", 20.0)];
    let fused = weighted_fusion(&dense, &sparse, 0.5);
    let ids: Vec<&str> = fused.iter().map(|(id, _)| *id).collect();
    // a: 0.5 of the dense side; b: 0.25 + 0.25; c: 0.5 of the other side.
    assert_eq!(ids, ["a", "b", "c", "d"]);
    assert!(fused[..3].iter().all(|(_, sum)| (sum - 0.5).abs() < 1e-12));
    assert_eq!(fused[3], ("d", 0.0));
    assert_eq!(weighted_fusion(&dense, &sparse, 1.0)[0], ("a", 1.0));
    assert_eq!(weighted_fusion(&dense, &sparse, 0.0)[0], ("c", 1.0));
    // One passage, or equal scores, are as good as can be.
    assert_eq!(weighted_fusion(&[("x", -3.0)], &[], 0.25), [("x", 0.25)]);
}

#[test]
fn rankings_are_judged_as_trec_eval_does() {
    let qrels = "query-id\tcorpus-id\tscore\nq1\ta\t1\nq1\tb\t2\nq1\tc\t0\n\nq2\tx\t1\n";
    let judgements = Judgements::parse(qrels).unwrap();
    assert!(judgements.judges("q1") && !judgements.judges("q3"));
    let ranking = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let rankings = [
        ("q1".to_owned(), ranking(&["c", "a#1", "a#0", "b"])),
        ("q2".to_owned(), ranking(&["y"])),
        ("q3".to_owned(), ranking(&["y"])),
    ]
    .into();
    let scores = judgements.scores(&rankings, true);
    assert_eq!(scores.queries, 2, "q3 is not judged");
    assert_eq!(scores.recall_1, 0.0);
    assert_eq!(scores.recall_5, 0.5);
    assert_eq!(scores.mrr_10, 0.25);
    // Chunks of one document are one: c, a, b gain 0, 1, 2.
    let gain = 1.0 / 3.0_f64.log2() + 2.0 / 4.0_f64.log2();
    let ideal = 2.0 + 1.0 / 3.0_f64.log2();
    assert!((scores.ndcg_10 - gain / ideal / 2.0).abs() < 1e-12);
    assert_eq!(
        Judgements::parse("q\tQ0\td\t1\n")
            .unwrap()
            .scores(&rankings, true)
            .queries,
        0
    );
    // Documents that are called so are different ones.
    let whole = judgements.scores(
        &[("q1".to_owned(), ranking(&["d#0", "d#1", "d#2", "b"]))].into(),
        false,
    );
    assert_eq!((whole.recall_1, whole.mrr_10), (0.0, 0.25));
    assert_eq!(Judgements::parse("a b c\n").unwrap_err().0, 1);
    assert_eq!(Judgements::parse("q\td\t1\nq\td\tgood\n").unwrap_err().0, 2);
}

#[test]
fn fused_rankings_reward_what_several_retrievers_find() {
    let fused = reciprocal_rank_fusion(&[&["a", "b", "c"], &["c", "d"]], 60.0);
    let ids: Vec<&str> = fused.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, ["c", "a", "b", "d"]);
    assert!((fused[0].1 - (1.0 / 63.0 + 1.0 / 61.0)).abs() < 1e-15);
    // Equal sums stand in the order of their ids.
    let tied = reciprocal_rank_fusion(&[&["z"], &["y"]], 60.0);
    assert_eq!(tied[0].0, "y");
    // Twice in one ranking is once.
    let twice = reciprocal_rank_fusion(&[&["a", "a"], &["b"]], 1.0);
    assert_eq!(twice[0], ("a", 0.5));
    assert!(reciprocal_rank_fusion(&[], 60.0).is_empty());
}

fn any_strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop::sample::select(vec![
        Strategy::None,
        Strategy::Fixed,
        Strategy::Sentence,
        Strategy::Recursive,
        Strategy::Token,
    ])
}

proptest! {
    #[test]
    fn chunks_fit_move_forward_and_lose_nothing_but_white_space(
        text in "[a-zäß漢.!? \n\u{301}]{0,200}", strategy in any_strategy(),
        size in 1_usize..40, overlap_share in 0_usize..100,
    ) {
        let overlap = size * overlap_share / 100;
        let chunks = Chunking::new(strategy, size, overlap).unwrap().chunks("d", &text);
        let mut covered = vec![false; text.len()];
        let mut last_end = 0;
        for chunk in &chunks {
            prop_assert_eq!(&text[chunk.range.clone()], chunk.text);
            match strategy {
                Strategy::None => {}
                Strategy::Token => {
                    prop_assert!(tokens::words(chunk.text).len() <= size);
                }
                _ => prop_assert!(chunk.text.chars().count() <= size),
            }
            prop_assert!(chunk.range.end > last_end);
            last_end = chunk.range.end;
            covered[chunk.range.clone()].fill(true);
        }
        for (at, c) in text.char_indices() {
            prop_assert!(covered[at] || c.is_whitespace(), "{:?} at {} lost", c, at);
        }
    }
}
