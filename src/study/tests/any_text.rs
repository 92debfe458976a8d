use super::*;
use proptest::prelude::*;

const VALID: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/conf/study/comprehensive_baseline.yaml"
));

/// Every outcome is one that can be shown.
fn look_at(source: &str) {
    match parse(source, "s.yaml", &TestCatalog) {
        Ok(study) => {
            assert!(!study.name.is_empty());
            let mut names: Vec<&String> = study.experiments.iter().map(|e| &e.name).collect();
            names.sort();
            let count = names.len();
            names.dedup();
            assert_eq!(count, names.len(), "a name twice");
        }
        Err(problems) => {
            assert!(
                problems.errors() > 0,
                "refused without an error: {problems}"
            );
            let places: Vec<(usize, usize)> = problems
                .diagnostics
                .iter()
                .map(|d| (d.line, d.column))
                .collect();
            assert!(places.is_sorted(), "{problems}");
            assert!(places.iter().all(|(line, column)| *line > 0 && *column > 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(source in "\\PC{0,200}") {
        look_at(&source);
    }

    #[test]
    fn any_yaml_like_text_is_answered(source in "[a-z:\\-\\[\\]{}&*<>|!%@'\"#,. \n\t0-9~?]{0,160}") {
        look_at(&source);
    }

    #[test]
    fn values_of_any_kind_under_known_keys_are_answered(
        key in prop::sample::select(vec![
            "name", "num_questions", "datasets", "direct", "rag", "experiments", "metrics", "llm_judge",
            "batch_size", "min_batch_size", "max_consecutive_failures", "batch_timeout", "generation",
            "options", "models", "corpus", "sampling", "seed",
        ]),
        inner in prop::sample::select(vec![
            "models", "prompts", "retrievers", "top_k_values", "reranker", "agent", "corpus", "sampling",
            "query_transform", "name", "generation", "retriever_names", "quantization",
        ]),
        value in prop::sample::select(vec![
            "~", "1", "-1", "1.5", ".nan", "1e999", "true", "x", "''", "[]", "{}", "[[]]", "[~]", "[1]",
            "[x]", "[{}]", "{a: b}", "{type: dense}", "[{type: hybrid, embedding: e5, chunk_size: 1}]",
            "[{name: x, retriever: y}]", "'hf:'", "'@'", "99999999999999999999", "{configs: [[], 1]}",
        ]),
    ) {
        look_at(&format!("{key}: {value}\n"));
        look_at(&format!("name: s\ndatasets: [nq]\n{key}: {{{inner}: {value}}}\n"));
        look_at(&format!("name: s\ndatasets: [nq]\n{key}: [{{{inner}: {value}}}]\n"));
    }

    #[test]
    fn a_valid_study_with_a_slip_is_answered(
        at in 0..VALID.len(),
        length in 0..12_usize,
        instead in "[a-z:\\-\\[\\]{}&*<|'\"#, \n\t0-9]{0,6}",
    ) {
        let mut source = VALID.to_owned();
        let start = (0..=at).rev().find(|i| source.is_char_boundary(*i)).unwrap_or(0);
        let end = (start + length).min(source.len());
        let end = (end..=source.len()).find(|i| source.is_char_boundary(*i)).unwrap_or(source.len());
        source.replace_range(start..end, &instead);
        look_at(&source);
    }
}
