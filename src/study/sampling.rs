use super::{fields::At, grid::Cell, keys, search::Search};
use crate::domain::{AgentKind, ExperimentSpec};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashSet};

/// How to take some cells of a grid instead of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sampling {
    number: usize,
    seed: u64,
    /// What makes a stratum; empty for plain random sampling.
    strata: Vec<&'static str>,
    /// Cells are chosen while the study runs, by this metric.
    optimised: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Random,
    Stratified,
    Tpe,
}

/// A value of `sampling`.
pub(super) fn sampling(at: &At<'_>) -> Option<Sampling> {
    let fields = at.fields(keys::SAMPLING)?;
    let mode = match fields.get("mode") {
        Some(at) => at.choice(&[
            ("random", Mode::Random),
            ("stratified", Mode::Stratified),
            ("tpe", Mode::Tpe),
        ])?,
        None => Mode::Random,
    };
    let number = fields
        .required("n_experiments", "it says how many cells to take")?
        .integer(1)?;
    let seed = match fields.get("seed") {
        Some(at) => at.integer(0)? as u64,
        None => 42,
    };
    let words: Vec<(&str, &'static str)> = keys::STRATA.iter().map(|word| (*word, *word)).collect();
    let strata = match fields.get("stratify_by") {
        Some(at) => at
            .list()?
            .iter()
            .filter_map(|at| at.choice(&words))
            .collect(),
        None => vec!["model", "retriever"],
    };
    Some(Sampling {
        number,
        seed,
        strata: match mode {
            Mode::Stratified => strata,
            Mode::Random | Mode::Tpe => Vec::new(),
        },
        optimised: (mode == Mode::Tpe).then(|| {
            let metric = fields.get("optimize_metric");
            let metric = metric.and_then(|at| at.text().map(str::to_owned));
            metric.unwrap_or_else(|| "f1".to_owned())
        }),
    })
}

impl Sampling {
    /// The metric that a search is by.
    pub fn optimised(&self) -> Option<&str> {
        self.optimised.as_deref()
    }

    /// The search among these cells, where they are chosen while the study
    /// runs. Those that can not run are not among them; `None` when none can.
    pub fn search(&self, cells: &[Cell]) -> Option<Search> {
        let metric = self.optimised.clone()?;
        let can_run = cells.iter().filter(|cell| cell.trouble.is_none());
        let can_run: BTreeSet<String> = can_run.map(|cell| cell.spec.name.clone()).collect();
        if can_run.is_empty() {
            return None;
        }
        Some(Search {
            cells: can_run,
            number: self.number,
            metric,
            seed: self.seed,
        })
    }

    /// The cells that are taken, in the order of the grid. Each cell has its
    /// lot, drawn from the seed and its name: asking for more cells takes the
    /// same ones and others, so that a study can grow.
    pub fn take(&self, cells: Vec<Cell>) -> Vec<Cell> {
        if self.number >= cells.len() {
            return cells;
        }
        let mut lots: Vec<([u8; 32], usize)> = cells
            .iter()
            .enumerate()
            .map(|(i, cell)| (lot(self.seed, &cell.spec.name), i))
            .collect();
        lots.sort_unstable();
        if !self.strata.is_empty() {
            // The first lot of each stratum goes before all others.
            let mut seen = HashSet::new();
            let (mut firsts, others): (Vec<_>, Vec<_>) = lots
                .into_iter()
                .partition(|(_, i)| seen.insert(self.stratum(&cells[*i].spec)));
            firsts.extend(others);
            lots = firsts;
        }
        let taken: HashSet<usize> = lots.iter().take(self.number).map(|(_, i)| *i).collect();
        cells
            .into_iter()
            .enumerate()
            .filter(|(i, _)| taken.contains(i))
            .map(|(_, cell)| cell)
            .collect()
    }

    fn stratum(&self, spec: &ExperimentSpec) -> Vec<String> {
        let option = |key: &str| spec.options.get(key).map(ToString::to_string);
        self.strata
            .iter()
            .map(|word| {
                let value = match *word {
                    "model" => Some(spec.model.to_string()),
                    "quantization" => Some(spec.quantization.to_string()),
                    "retriever" => spec.retriever.as_ref().map(|r| r.name.clone()),
                    "top_k" => spec.top_k.map(|k| k.to_string()),
                    "prompt" => Some(spec.prompt.name.clone()),
                    "dataset" => Some(spec.dataset.name.clone()),
                    "agent" => Some(agent_word(spec.agent).to_owned()),
                    other => option(other),
                };
                value.unwrap_or_default()
            })
            .collect()
    }
}

/// What decides by lot, for a seed and a cell's name.
pub(super) fn lot(seed: u64, name: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    hash.finalize().into()
}

const fn agent_word(agent: AgentKind) -> &'static str {
    match agent {
        AgentKind::DirectLlm => "direct_llm",
        AgentKind::FixedRag => "fixed_rag",
        AgentKind::IterativeRag => "iterative_rag",
        AgentKind::SelfRag => "self_rag",
    }
}
