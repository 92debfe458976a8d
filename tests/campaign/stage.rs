//! A study whose clean run is known, and as many fresh copies as are wanted.

use crate::bench::{Bench, Options, text};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};
use tempfile::TempDir;

pub struct Stage {
    pub options: Options,
    /// What the clean run left: what everything is compared with.
    pub answers: BTreeMap<String, Value>,
    clean: Bench,
}

/// A directory in memory where there is room: nothing here asks a disk to be
/// quick, and power cuts are made from a record of the calls.
fn place() -> TempDir {
    const ENOUGH: u64 = 512 << 20;
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory)
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) > ENOUGH);
    if has_room {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

impl Stage {
    pub fn new(options: Options) -> Self {
        let clean = Bench::new_in(place(), &options);
        let output = clean.run("");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        Self {
            options,
            answers: clean.answers(),
            clean,
        }
    }

    /// The study, not run yet, with the index that the clean run built.
    pub fn bench(&self) -> Bench {
        let mut bench = self.bench_without_cache();
        bench.cache.clone_from(&self.clean.cache);
        bench
    }

    pub fn bench_without_cache(&self) -> Bench {
        Bench::new_in(place(), &self.options)
    }

    pub fn questions(&self) -> usize {
        self.answers.len() * self.options.questions
    }
}

/// What must never be seen in a study's directory, whatever happened to it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Lies {
    /// Experiments labelled complete with a question that has no answer.
    pub complete: usize,
    /// Failed questions with a score, or error texts that pass for answers.
    pub scored: usize,
    /// Questions that the journal has two answers to.
    pub twice: usize,
}

impl Lies {
    pub fn of(bench: &Bench) -> Self {
        let mut lies = Self::default();
        let answered = bench.journal_answers();
        lies.twice = answered.values().filter(|&&count| count > 1).count();
        for path in bench.experiments() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let state = bench.read(&path.join("state.json"));
            let is_complete = state["phase"] == "complete";
            let total = state["total_questions"].as_u64().unwrap() as usize;
            let kept = answered.keys().filter(|(of, _)| *of == name).count();
            if is_complete && kept < total {
                lies.complete += 1;
            }
            if !path.join("predictions.json").exists() {
                continue;
            }
            let file = bench.read(&path.join("predictions.json"));
            for prediction in file["predictions"].as_array().unwrap() {
                let failed = !prediction["error"].is_null();
                let scores = prediction["metrics"].as_object().map_or(0, |it| it.len());
                let marked = prediction["prediction"]
                    .as_str()
                    .is_some_and(|text| text.starts_with("[ERROR") || text.starts_with("[ABORTED"));
                lies.scored += usize::from(failed && scores > 0) + usize::from(marked && !failed);
                lies.complete += usize::from(is_complete && failed);
            }
            let counted = &file["aggregate_metrics"]["n_scored"];
            if counted.is_u64() && counted.as_u64().unwrap() as usize > kept {
                lies.scored += 1;
            }
        }
        lies
    }

    pub fn add(&mut self, other: Self) {
        self.complete += other.complete;
        self.scored += other.scored;
        self.twice += other.twice;
    }

    pub fn total(self) -> usize {
        self.complete + self.scored + self.twice
    }
}
