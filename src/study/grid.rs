//! Axes to cells, and what to do about cells with the same name.

use super::{
    catalog::Names,
    entries::{Choice, Origin, PromptChoice},
    name::experiment_name,
    report::Report,
    retriever::Options,
    steps::{Agent, Reranker},
};
use crate::domain::{
    AgentKind, DatasetSpec, ExperimentKind, ExperimentSpec, GenerationSettings, ModelSpec, Prompt,
    Quantization, RetrieverKind, RetrieverSpec,
};
use serde_json::json;
use std::{borrow::Cow, collections::HashMap, rc::Rc};

/// A study with more cells is refused before they are built.
pub const MAX_CELLS: usize = 100_000;

/// One experiment to be, with where its parts stand in the file.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub spec: ExperimentSpec,
    /// Why it can not run.
    pub trouble: Option<String>,
    pub origins: Origins,
}

/// Where the parts of a cell stand that its name may fail to tell apart.
#[derive(Debug, Clone)]
pub(super) struct Origins {
    pub model: Rc<Origin>,
    pub prompt: Rc<Origin>,
    pub dataset: Rc<Origin>,
    /// The retriever, or the section where there is none.
    pub other: Rc<Origin>,
}

/// The axes of a grid, or of a cell written by hand (one value per axis).
pub(super) struct Axes<'a> {
    pub section: Origin,
    pub models: Vec<Choice<ModelSpec>>,
    pub quantizations: Vec<Quantization>,
    pub prompts: Vec<Choice<PromptChoice>>,
    pub datasets: Cow<'a, [Choice<DatasetSpec>]>,
    pub generation: GenerationSettings,
    /// `None` for the grid without retrieval.
    pub rag: Option<RagAxes>,
}

/// The axes that only retrieval has.
pub(super) struct RagAxes {
    pub retrievers: Vec<Choice<RetrieverSpec>>,
    pub top_ks: Vec<usize>,
    pub agents: Vec<Choice<Agent>>,
    pub transforms: Vec<Choice<Option<String>>>,
    pub rerankers: Vec<Choice<Option<Reranker>>>,
    pub fetch_k: FetchK,
}

/// How many passages are fetched for a reranker.
#[derive(Debug, Clone, Copy)]
pub(super) enum FetchK {
    /// This many, with or without a reranker.
    Fixed(usize),
    /// This many times top_k, with a reranker only.
    Times(usize),
}

impl Axes<'_> {
    /// How many cells [`Axes::expand`] will make.
    pub fn count(&self) -> usize {
        let loads: usize = self
            .models
            .iter()
            .map(|model| self.quantizations_of(&model.value).len())
            .sum();
        let rag = self.rag.as_ref().map_or(1, RagAxes::count);
        [self.prompts.len(), self.datasets.len(), rag]
            .into_iter()
            .fold(loads, usize::saturating_mul)
    }

    /// A model without the axis makes one cell, not one per value.
    fn quantizations_of(&self, model: &ModelSpec) -> &[Quantization] {
        const ONE: &[Quantization] = &[Quantization::None];
        match model.provider.has_quantization() {
            true => &self.quantizations,
            false => ONE,
        }
    }

    /// Every cell: models outside, then quantisations, so that a loaded model
    /// is used up before the next.
    pub fn expand(&self, names: &Names<'_>) -> Vec<Cell> {
        let mut cells = Vec::with_capacity(self.count());
        let section = Rc::new(self.section.clone());
        let prompts = self.resolve_prompts(names);
        let variants = self
            .rag
            .as_ref()
            .map_or_else(|| vec![Variant::direct(&section)], RagAxes::variants);
        for model in &self.models {
            let model_origin = Rc::new(model.origin.clone());
            for quantization in self.quantizations_of(&model.value) {
                for variant in &variants {
                    for resolved in &prompts {
                        let trouble = [&model.trouble, &resolved.trouble, &variant.trouble];
                        let mut spec = ExperimentSpec {
                            name: String::new(),
                            kind: match variant.retriever {
                                Some(_) => ExperimentKind::Rag,
                                None => ExperimentKind::Direct,
                            },
                            agent: variant.agent,
                            model: model.value.clone(),
                            quantization: *quantization,
                            prompt: resolved.prompt.clone(),
                            dataset: resolved.dataset.clone(),
                            retriever: variant.retriever.clone(),
                            top_k: variant.top_k,
                            generation: self.generation.clone(),
                            options: variant.options.clone(),
                        };
                        spec.name = experiment_name(&spec);
                        cells.push(Cell {
                            spec,
                            trouble: trouble.into_iter().flatten().next().cloned(),
                            origins: Origins {
                                model: Rc::clone(&model_origin),
                                prompt: Rc::clone(&resolved.prompt_origin),
                                dataset: Rc::clone(&resolved.dataset_origin),
                                other: Rc::clone(&variant.origin),
                            },
                        });
                    }
                }
            }
        }
        cells
    }

    /// Prompts with the examples of each dataset, prompts outside.
    fn resolve_prompts(&self, names: &Names<'_>) -> Vec<Resolved> {
        let datasets: Vec<(Rc<Origin>, &Choice<DatasetSpec>)> = self
            .datasets
            .iter()
            .map(|dataset| (Rc::new(dataset.origin.clone()), dataset))
            .collect();
        let mut all = Vec::with_capacity(self.prompts.len() * datasets.len());
        for prompt in &self.prompts {
            let prompt_origin = Rc::new(prompt.origin.clone());
            for (dataset_origin, dataset) in &datasets {
                all.push(Resolved {
                    prompt: prompt.value.resolve(names.catalog, &dataset.value.name),
                    dataset: dataset.value.clone(),
                    prompt_origin: Rc::clone(&prompt_origin),
                    dataset_origin: Rc::clone(dataset_origin),
                    trouble: prompt.trouble.clone().or_else(|| dataset.trouble.clone()),
                });
            }
        }
        all
    }
}

struct Resolved {
    prompt: Prompt,
    dataset: DatasetSpec,
    prompt_origin: Rc<Origin>,
    dataset_origin: Rc<Origin>,
    trouble: Option<String>,
}

/// One combination of what only retrieval has.
struct Variant {
    retriever: Option<RetrieverSpec>,
    top_k: Option<usize>,
    agent: AgentKind,
    options: Options,
    origin: Rc<Origin>,
    trouble: Option<String>,
}

impl Variant {
    fn direct(section: &Rc<Origin>) -> Self {
        Self {
            retriever: None,
            top_k: None,
            agent: AgentKind::DirectLlm,
            options: Options::new(),
            origin: Rc::clone(section),
            trouble: None,
        }
    }
}

impl RagAxes {
    fn count(&self) -> usize {
        [
            self.retrievers.len(),
            self.top_ks.len(),
            self.agents.len(),
            self.transforms.len(),
            self.rerankers.len(),
        ]
        .into_iter()
        .fold(1, usize::saturating_mul)
    }

    fn variants(&self) -> Vec<Variant> {
        let mut variants = Vec::with_capacity(self.count());
        for retriever in &self.retrievers {
            let origin = Rc::new(retriever.origin.clone());
            for top_k in &self.top_ks {
                if retriever.value.kind == RetrieverKind::Gold {
                    // Nothing is searched: it makes one cell, not one per way to
                    // search.
                    variants.push(Variant {
                        retriever: Some(retriever.value.clone()),
                        top_k: Some(*top_k),
                        agent: AgentKind::FixedRag,
                        options: Options::new(),
                        origin: Rc::clone(&origin),
                        trouble: retriever.trouble.clone(),
                    });
                    continue;
                }
                for agent in &self.agents {
                    for transform in &self.transforms {
                        for reranker in &self.rerankers {
                            let trouble = [
                                &retriever.trouble,
                                &agent.trouble,
                                &transform.trouble,
                                &reranker.trouble,
                            ];
                            variants.push(Variant {
                                retriever: Some(retriever.value.clone()),
                                top_k: Some(*top_k),
                                agent: agent.value.kind,
                                options: self.options(
                                    *top_k,
                                    &agent.value,
                                    transform.value.as_deref(),
                                    reranker.value.as_ref(),
                                ),
                                origin: Rc::clone(&origin),
                                trouble: trouble.into_iter().flatten().next().cloned(),
                            });
                        }
                    }
                }
            }
        }
        variants
    }

    fn options(
        &self,
        top_k: usize,
        agent: &Agent,
        transform: Option<&str>,
        reranker: Option<&Reranker>,
    ) -> Options {
        let mut options = agent.settings.clone();
        if let Some(transform) = transform {
            options.insert("query_transform".to_owned(), json!(transform));
        }
        let fetch_k = match (self.fetch_k, reranker) {
            (FetchK::Fixed(number), _) => Some(number),
            (FetchK::Times(times), Some(_)) => Some(top_k.saturating_mul(times)),
            (FetchK::Times(_), None) => None,
        };
        if let Some(fetch_k) = fetch_k {
            options.insert("fetch_k".to_owned(), json!(fetch_k.max(top_k)));
        }
        if let Some(reranker) = reranker {
            options.insert(
                "reranker".to_owned(),
                json!({ "name": reranker.name, "model": reranker.model }),
            );
        }
        options
    }
}

/// Every name once: cells that are the same are merged, and different cells of
/// one name are reported, once per pair of places that causes it.
pub(super) fn unique(cells: Vec<Cell>, report: &Report<'_>) -> Vec<Cell> {
    let mut kept: Vec<Cell> = Vec::with_capacity(cells.len());
    let mut by_name: HashMap<String, usize> = HashMap::with_capacity(cells.len());
    for cell in cells {
        let Some(&first) = by_name.get(&cell.spec.name) else {
            by_name.insert(cell.spec.name.clone(), kept.len());
            kept.push(cell);
            continue;
        };
        if kept[first].spec != cell.spec {
            report_collision(&kept[first], &cell, report);
        }
    }
    kept
}

fn report_collision(first: &Cell, second: &Cell, report: &Report<'_>) {
    let difference = difference(first, second);
    let (from, to) = (difference.from, difference.to);
    let topic = format!(
        "collision {} {}:{} {}:{}",
        difference.what, from.place.line, from.place.column, to.place.line, to.place.column
    );
    if !report.first(topic) {
        return;
    }
    let name = &second.spec.name;
    let said = |value: &Option<String>| match value {
        Some(value) => format!("{} {value}", difference.what),
        None => format!("its {}", difference.what),
    };
    report.error(
        to.place,
        &to.path,
        name,
        format!(
            "two different experiments are both named '{name}', one by {} ({}, line {}) and one by {} ({}, line {})",
            said(&difference.one),
            from.path,
            from.place.line,
            said(&difference.other),
            to.path,
            to.place.line
        ),
        Some("remove one of them, or give it another name".to_owned()),
    );
}

/// In what two cells of one name differ.
struct Difference<'a> {
    what: &'static str,
    /// The first cell's value; `None` where it is too long to show.
    one: Option<String>,
    other: Option<String>,
    from: &'a Origin,
    to: &'a Origin,
}

fn difference<'a>(first: &'a Cell, second: &'a Cell) -> Difference<'a> {
    type Part = fn(&Origins) -> &Origin;
    type Value = fn(&ExperimentSpec) -> Option<String>;
    let (a, b) = (&first.spec, &second.spec);
    let (what, part, value): (_, Part, Value) = if a.model != b.model {
        (
            "model",
            |origins| &origins.model,
            |spec| {
                let url = spec.model.base_url.as_ref();
                let url = url.map_or_else(String::new, |url| format!(" at {url}"));
                Some(format!("'{}'{url}", spec.model))
            },
        )
    } else if a.dataset != b.dataset {
        (
            "dataset",
            |origins| &origins.dataset,
            |spec| {
                let path = spec.dataset.path.as_ref();
                let path = path.map_or_else(String::new, |path| format!(" from {path}"));
                Some(format!("'{}'{path}", spec.dataset.name))
            },
        )
    } else if a.prompt != b.prompt {
        (
            "prompt",
            |origins| &origins.prompt,
            |spec| Some(format!("'{}'", spec.prompt.name)),
        )
    } else if a.retriever != b.retriever {
        (
            "retriever",
            |origins| &origins.other,
            |spec| {
                let retriever = spec.retriever.as_ref();
                Some(retriever.map_or_else(|| "none".to_owned(), |r| format!("'{}'", r.name)))
            },
        )
    } else if a.quantization != b.quantization {
        (
            "quantization",
            |origins| &origins.other,
            |spec| Some(spec.quantization.to_string()),
        )
    } else if a.generation != b.generation {
        ("generation settings", |origins| &origins.other, |_| None)
    } else {
        ("settings", |origins| &origins.other, |_| None)
    };
    Difference {
        what,
        one: value(a),
        other: value(b),
        from: part(&first.origins),
        to: part(&second.origins),
    }
}
