#![allow(clippy::unwrap_used)]

mod any_text;
mod grids;
mod mistakes;
mod paths;
mod searching;
mod selecting;
mod shipped;

use super::*;
use crate::domain::Prompt;

/// A catalog as the program has it, without the rooms that fill it.
pub(super) struct TestCatalog;

impl Catalog for TestCatalog {
    fn datasets(&self) -> Vec<KnownName> {
        let mut names: Vec<KnownName> = ["nq", "triviaqa", "hotpotqa", "squad"]
            .into_iter()
            .map(KnownName::available)
            .collect();
        names.push(KnownName::unavailable("musique", "it has no loader yet"));
        names
    }

    fn metrics(&self) -> Vec<KnownName> {
        vec![
            KnownName::available("exact_match"),
            KnownName::available("f1"),
            KnownName::unavailable("bleurt", "it needs another runtime"),
        ]
    }

    fn prompts(&self) -> Vec<KnownName> {
        vec![
            KnownName::available("default"),
            KnownName::available("concise"),
            KnownName::available("fewshot"),
            KnownName::unavailable("detailed", "it was never written"),
        ]
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "HOME" => "/home/me",
            "DATA" => "/data",
            "EMPTY" => "",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn prompt(&self, name: &str, dataset: &str) -> Option<Prompt> {
        ["default", "concise", "fewshot"]
            .contains(&name)
            .then(|| Prompt {
                name: name.to_owned(),
                system: None,
                direct: format!("{name} {dataset} {{question}}"),
                with_context: format!("{name} {{context}} {{question}}"),
                passage: "{text}".to_owned(),
                example: None,
                examples: Vec::new(),
            })
    }
}

/// The study in `source`, which has no errors.
pub(super) fn study(source: &str) -> Study {
    parse(source, "s.yaml", &TestCatalog).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is wrong with `source`, as people read it.
pub(super) fn problems(source: &str) -> String {
    match parse(source, "s.yaml", &TestCatalog) {
        Ok(study) => panic!("this is a fine study of {} cells", study.experiments.len()),
        Err(problems) => problems.to_string(),
    }
}

/// The names of the experiments of `source`.
pub(super) fn names(source: &str) -> Vec<String> {
    study(source)
        .experiments
        .into_iter()
        .map(|experiment| experiment.name)
        .collect()
}
