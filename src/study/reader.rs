//! The top level of a study and its two grids.

use super::{
    catalog::Names,
    entries::{self, Choice, Origin, PromptChoice, QUANTIZATIONS},
    fields::{At, Fields},
    grid::{Axes, Cell, FetchK, MAX_CELLS, RagAxes, unique},
    hand_written, keys,
    name::{RESERVED, safe_name},
    paths,
    report::Report,
    retriever::{self, Options, Retrievers},
    sampling::{self, Sampling},
    select::order_by_model,
    settings,
    steps::{self, Agent},
    study_file::Study,
    yaml,
};
use crate::domain::{
    AgentKind, DatasetSpec, ExperimentSpec, GenerationSettings, ModelSpec, Quantization,
    ScoringModel,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

/// Reads the top level.
pub(super) struct Reader<'a> {
    pub fields: &'a Fields<'a>,
    pub names: &'a Names<'a>,
    pub report: &'a Report<'a>,
}

impl<'a> Reader<'a> {
    /// The study, if nothing is so wrong that there is none.
    pub fn study(&self) -> Option<Study> {
        let name = self.name();
        let mut settings = settings::run_settings(self.fields);
        let llm_judge = self.fields.get("llm_judge").and_then(|at| self.judge(&at));
        let (metrics, unavailable_metrics) =
            self.metrics(self.fields.get("metrics"), llm_judge.as_ref());
        settings.metrics = metrics;
        let mut generation = settings::generation(
            self.fields.get("generation"),
            &GenerationSettings::default(),
        );
        if let Some(seed) = self.fields.get("seed").and_then(|at| at.integer(0)) {
            generation.seed = seed as u64;
        }
        let datasets = self.datasets();
        let models = self
            .fields
            .get("models")
            .map(|at| self.each(&at, |at| entries::model(at, self.names)))
            .unwrap_or_default();
        let direct = self.direct(&datasets, &generation);
        let rag_section = self.fields.get("rag").and_then(|at| at.fields(keys::RAG));
        // What is switched off is checked, and not warned about.
        let is_off = rag_section.as_ref().is_some_and(|rag| !enabled(rag));
        self.report
            .set_quiet(is_off && self.fields.get("experiments").is_none());
        let retrievers = self.retrievers(rag_section.as_ref());
        let rag = rag_section
            .as_ref()
            .and_then(|section| self.rag(section, &retrievers, &datasets, &generation));
        self.report.set_quiet(false);
        let hand = hand_written::Context {
            names: self.names,
            datasets: &datasets,
            retrievers: &retrievers,
            default_model: models.first(),
            generation: &generation,
            settings: &settings,
            metrics: &|at| self.metrics(Some(at), llm_judge.as_ref()).0,
        };
        let written = self
            .fields
            .get("experiments")
            .map(|at| self.each(&at, |at| hand.read(at)))
            .unwrap_or_default();
        if self.fields.get("rag").is_none()
            && let Some(at) = self.fields.get("sampling")
        {
            at.warning(
                "ignored: it takes cells of the grid under rag, and there is none",
                Some("remove the key, or write rag".to_owned()),
            );
        }
        self.check_search(rag_section.as_ref(), rag.as_ref(), &settings.metrics);
        self.check_something_runs(direct.is_some() || rag.is_some() || !written.is_empty());

        let mut cells = Vec::new();
        let mut room = MAX_CELLS;
        let mut search = None;
        for (axes, sampling) in [direct.map(|axes| (axes, None)), rag].into_iter().flatten() {
            let mut grid = self.expand(&axes, &mut room)?;
            if let Some(sampling) = sampling {
                // Two cells of one name would share a lot.
                grid = unique(grid, self.report);
                search = sampling.search(&grid);
                match &search {
                    // What can not run is no choice.
                    Some(search) => grid.retain(|cell| search.cells.contains(&cell.spec.name)),
                    None => grid = sampling.take(grid),
                }
            }
            cells.append(&mut grid);
        }
        let mut overrides = BTreeMap::new();
        let mut hypotheses = BTreeMap::new();
        for hand in written {
            for cell in self.expand_hand_written(&hand, &mut room)? {
                if let Some(settings) = &hand.settings {
                    overrides.insert(cell.spec.name.clone(), settings.clone());
                }
                if let Some(hypothesis) = &hand.hypothesis {
                    hypotheses.insert(cell.spec.name.clone(), hypothesis.clone());
                }
                cells.push(cell);
            }
        }
        let cells = unique(cells, self.report);
        let unavailable = cells
            .iter()
            .filter_map(|cell| Some((cell.spec.name.clone(), cell.trouble.clone()?)))
            .collect();
        let mut experiments: Vec<ExperimentSpec> =
            cells.into_iter().map(|cell| cell.spec).collect();
        let sample_seed = self
            .fields
            .get("question_seed")
            .and_then(|at| at.integer(0));
        for spec in &mut experiments {
            spec.dataset.sample_seed = sample_seed.map(|seed| seed as u64);
        }
        order_by_model(&mut experiments);
        self.warn_of_depths(&experiments, &settings.metrics);
        let name = name?;
        let text = |key: &str| {
            let at = self.fields.get(key)?;
            at.text().map(str::to_owned)
        };
        let output_dir = match self.fields.get("output_dir") {
            Some(at) => self.path_of(&at)?,
            None => format!("outputs/{name}"),
        };
        let scoring = self.scoring_models();
        let local_paths = paths::needed(self.report.take_locals(), &experiments);
        Some(Study {
            output_dir,
            local_paths,
            description: text("description").unwrap_or_default(),
            llm_judge,
            scoring,
            search,
            name,
            experiments,
            settings,
            overrides,
            hypotheses,
            unavailable,
            unavailable_metrics,
            warnings: Vec::new(),
        })
    }

    /// Warns of metrics over the first k passages where experiments keep fewer:
    /// once, for the grids of many studies cross both.
    fn warn_of_depths(&self, experiments: &[ExperimentSpec], metrics: &[String]) {
        let Some(at) = self.fields.get("metrics") else {
            return;
        };
        let top_ks: BTreeSet<usize> = experiments.iter().filter_map(|spec| spec.top_k).collect();
        let too_deep: Vec<String> = metrics
            .iter()
            .filter_map(|name| {
                let depth: usize = name.split_once('@')?.1.parse().ok()?;
                let fewer = top_ks.range(..depth).map(usize::to_string);
                let fewer: Vec<String> = fewer.collect();
                (!fewer.is_empty()).then(|| format!("{name} with top_k {}", fewer.join(", ")))
            })
            .collect();
        if !too_deep.is_empty() {
            at.warning(
                format!(
                    "{}: fewer passages are kept than the metric looks at, and its score is of \
                     these",
                    too_deep.join("; ")
                ),
                Some("compare it only between experiments of one top_k".to_owned()),
            );
        }
    }

    fn name(&self) -> Option<String> {
        let at = self
            .fields
            .required("name", "it names the output directory")?;
        let name = at.text()?;
        let safe = safe_name(name);
        if safe != name {
            at.error(
                format!(
                    "'{}' can not name a directory",
                    super::fields::shorten(name)
                ),
                Some("use letters, digits, dots, dashes and underscores".to_owned()),
            );
            return None;
        }
        Some(safe)
    }

    /// Every entry of a list that may not be empty.
    fn each<T>(&self, at: &At<'a>, read: impl FnMut(&At<'a>) -> Option<T>) -> Vec<T> {
        let Some(entries) = at.list() else {
            return Vec::new();
        };
        if entries.is_empty() {
            at.error(
                "the list is empty",
                Some("give it items, or remove the key".to_owned()),
            );
        }
        entries.iter().filter_map(read).collect()
    }

    fn datasets(&self) -> Vec<Choice<DatasetSpec>> {
        let Some(at) = self.fields.get("datasets") else {
            // Only hand-written cells can bring datasets of their own.
            let grids = ["direct", "rag"];
            if grids.iter().any(|key| self.fields.get(key).is_some()) {
                self.fields
                    .required("datasets", "write for example datasets: [nq]");
            }
            return Vec::new();
        };
        self.each(&at, |at| entries::dataset(at, self.names))
    }

    /// A search is by a metric that is computed, and as soon as an experiment
    /// has answered.
    fn check_search(
        &self,
        section: Option<&Fields<'a>>,
        rag: Option<&(Axes<'_>, Option<Sampling>)>,
        metrics: &[String],
    ) {
        let optimised = rag.and_then(|(_, sampling)| sampling.as_ref()?.optimised());
        let at = section
            .and_then(|section| section.get("sampling"))
            .or_else(|| self.fields.get("sampling"));
        if let (Some(metric), Some(at)) = (optimised, &at)
            && !metrics.iter().any(|one| one == metric)
        {
            at.error(
                format!("the search is by {metric}, which is not among the computed metrics"),
                Some("add it to metrics, or name another with optimize_metric".to_owned()),
            );
        } else if let (Some(metric), Some(at)) = (optimised, at)
            && ScoringModel::of(metric).is_some()
        {
            at.error(
                format!("the search is by {metric}, which is computed at the end of the study"),
                Some("name another with optimize_metric, such as f1".to_owned()),
            );
        }
    }

    /// Text that may be a path.
    pub(super) fn path_of(&self, at: &At<'_>) -> Option<String> {
        paths::expand(at, at.text()?, self.names)
    }

    fn retrievers(&self, rag: Option<&Fields<'a>>) -> Retrievers {
        let corpus = rag
            .and_then(|rag| rag.get("corpus"))
            .or_else(|| self.fields.get("corpus"));
        let corpus = corpus.and_then(|at| retriever::corpus(&at, self.names));
        let mut retrievers = Retrievers::new(corpus);
        if let Some(at) = rag.and_then(|rag| rag.get("retrievers")) {
            retrievers.described = self.each(&at, |at| retrievers.entry(at, self.names));
        }
        retrievers
    }

    fn direct<'d>(
        &self,
        datasets: &'d [Choice<DatasetSpec>],
        generation: &GenerationSettings,
    ) -> Option<Axes<'d>> {
        let section = self.fields.get("direct")?.fields(keys::DIRECT)?;
        self.report.set_quiet(!enabled(&section));
        let axes = self.common_axes(&section, datasets, generation);
        self.report.set_quiet(false);
        if !enabled(&section) {
            return None;
        }
        if axes.models.is_none() {
            section.required("models", "write for example models: [embedded:reader]");
        }
        Some(axes.finish())
    }

    fn rag<'d>(
        &self,
        section: &Fields<'a>,
        retrievers: &Retrievers,
        datasets: &'d [Choice<DatasetSpec>],
        generation: &GenerationSettings,
    ) -> Option<(Axes<'d>, Option<Sampling>)> {
        let axes = self.common_axes(section, datasets, generation);
        let top_ks = match section.either(&["top_k_values", "top_k"]) {
            Some(at) => {
                let values = at.one_or_many();
                if values.is_empty() {
                    at.error(
                        "the list is empty",
                        Some("write for example [3, 5]".to_owned()),
                    );
                }
                values.iter().filter_map(|at| at.integer(1)).collect()
            }
            None => vec![5],
        };
        let agents = match section.either(&["agent", "agents"]) {
            Some(at) => at
                .one_or_many()
                .iter()
                .filter_map(|at| {
                    let agent = steps::agent(at, self.names)?;
                    if agent.value.kind == AgentKind::DirectLlm {
                        at.error(
                            "this agent does not retrieve",
                            Some("it belongs under direct".to_owned()),
                        );
                    }
                    Some(agent)
                })
                .collect(),
            None => vec![default_agent(section, AgentKind::FixedRag)],
        };
        let transforms = match section.get("query_transform") {
            Some(at) => at
                .one_or_many()
                .iter()
                .filter_map(|at| steps::query_transform(at, self.names))
                .collect(),
            None => vec![Choice::new(None, &section.at)],
        };
        let rerankers = match section.get("reranker") {
            Some(at) => steps::rerankers(&at, self.names),
            None => vec![Choice::new(None, &section.at)],
        };
        let times = section
            .get("fetch_k_multiplier")
            .and_then(|at| at.integer(1))
            .unwrap_or(4);
        let fetch_k = match section.get("fetch_k").and_then(|at| at.integer(1)) {
            Some(number) => FetchK::Fixed(number),
            None => FetchK::Times(times),
        };
        let sampling = section
            .get("sampling")
            .or_else(|| self.fields.get("sampling"))
            .and_then(|at| sampling::sampling(&at));
        let chosen = match section.get("retriever_names") {
            Some(at) => self.each(&at, |at| retrievers.by_name(at, self.names)),
            None => retrievers.described.clone(),
        };
        if !enabled(section) || self.describes_retrievers_only(section) {
            return None;
        }
        if axes.models.is_none() {
            section.required("models", "write for example models: [embedded:reader]");
        }
        if section.get("retrievers").is_none() && section.get("retriever_names").is_none() {
            section.required(
                "retrievers",
                "write for example retrievers: [simple_minilm_recursive_512]",
            );
        }
        let mut axes = axes.finish();
        axes.rag = Some(RagAxes {
            retrievers: chosen,
            top_ks,
            agents,
            transforms,
            rerankers,
            fetch_k,
        });
        Some((axes, sampling))
    }

    /// A rag section may describe retrievers for `experiments:` and have no
    /// grid of its own.
    fn describes_retrievers_only(&self, section: &Fields<'a>) -> bool {
        let empty = match section.get("models") {
            Some(at) => matches!(&at.node.value, yaml::Value::List(items) if items.is_empty()),
            None => true,
        };
        empty && self.fields.get("experiments").is_some()
    }

    /// What both grids have.
    fn common_axes<'d>(
        &self,
        section: &Fields<'a>,
        datasets: &'d [Choice<DatasetSpec>],
        generation: &GenerationSettings,
    ) -> HalfAxes<'d> {
        let models = section.get("models").map(|at| {
            let may_be_empty = self.describes_retrievers_only(section);
            let entries = at.list().unwrap_or_default();
            if entries.is_empty() && matches!(at.node.value, yaml::Value::List(_)) && !may_be_empty
            {
                at.error(
                    "the list is empty",
                    Some("give it models, or write enabled: false".to_owned()),
                );
            }
            entries
                .iter()
                .filter_map(|at| entries::model(at, self.names))
                .collect()
        });
        let prompts = match section.get("prompts") {
            Some(at) => self.each(&at, |at| entries::prompt(at, self.names)),
            None => vec![Choice::new(
                PromptChoice::Named("default".to_owned()),
                &section.at,
            )],
        };
        let quantizations = match section.get("quantization") {
            Some(at) => {
                let mut values = Vec::new();
                for value in self.each(&at, |at| at.choice(QUANTIZATIONS)) {
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                values
            }
            // Existing studies without the key ran in 4bit, and their names
            // say nothing about it.
            None => vec![Quantization::Int4],
        };
        HalfAxes {
            section: Choice::new((), &section.at).origin,
            models,
            quantizations,
            prompts,
            datasets,
            generation: settings::generation(section.get("generation"), generation),
        }
    }

    fn expand(&self, axes: &Axes<'_>, room: &mut usize) -> Option<Vec<Cell>> {
        self.claim(axes.count(), &axes.section, room)?;
        Some(axes.expand(self.names))
    }

    fn expand_hand_written(
        &self,
        hand: &hand_written::HandWritten,
        room: &mut usize,
    ) -> Option<Vec<Cell>> {
        self.claim(hand.axes.count(), &hand.axes.section, room)?;
        let mut cells = hand.axes.expand(self.names);
        let several = cells.len() > 1;
        for cell in &mut cells {
            cell.spec.name = match several {
                true => safe_name(&format!("{}_{}", hand.name, cell.spec.dataset.name)),
                false => hand.name.clone(),
            };
        }
        Some(cells)
    }

    /// Refuses a study that is too large before it is built.
    fn claim(&self, count: usize, section: &Origin, room: &mut usize) -> Option<()> {
        match room.checked_sub(count) {
            Some(left) => {
                *room = left;
                Some(())
            }
            None => {
                self.report.error(
                    section.place,
                    &section.path,
                    "",
                    format!(
                        "with {} experiments here the study has more than {}",
                        grouped(count),
                        grouped(MAX_CELLS)
                    ),
                    Some("shorten some lists, or split the study".to_owned()),
                );
                None
            }
        }
    }

    fn check_something_runs(&self, runs: bool) {
        let section = ["direct", "rag", "experiments"]
            .into_iter()
            .find_map(|key| self.fields.get(key));
        match section {
            // Whatever is wrong inside has been said.
            Some(at) if !runs && !self.report.has_errors() => at.error(
                "nothing is left to run",
                Some("enable direct or rag, or write experiments".to_owned()),
            ),
            None => self.report.error(
                self.fields.at.place(),
                "",
                "",
                "there is nothing to run".to_owned(),
                Some("write direct, rag or experiments".to_owned()),
            ),
            _ => {}
        }
    }
}

/// Axes of which the models may be missing.
struct HalfAxes<'d> {
    section: Origin,
    models: Option<Vec<Choice<ModelSpec>>>,
    quantizations: Vec<Quantization>,
    prompts: Vec<Choice<PromptChoice>>,
    datasets: &'d [Choice<DatasetSpec>],
    generation: GenerationSettings,
}

impl<'d> HalfAxes<'d> {
    fn finish(self) -> Axes<'d> {
        Axes {
            section: self.section,
            models: self.models.unwrap_or_default(),
            quantizations: self.quantizations,
            prompts: self.prompts,
            datasets: self.datasets.into(),
            generation: self.generation,
            rag: None,
        }
    }
}

/// The plain agent, standing where nothing was said about agents.
pub(super) fn default_agent(fields: &Fields<'_>, kind: AgentKind) -> Choice<Agent> {
    Choice::new(
        Agent {
            kind,
            settings: Options::new(),
        },
        &fields.at,
    )
}

fn enabled(section: &Fields<'_>) -> bool {
    section
        .get("enabled")
        .is_none_or(|at| at.boolean().unwrap_or(true))
}

/// `100,000`.
fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A hand-written experiment's name, checked.
pub(super) fn checked_name(at: &At<'_>) -> Option<String> {
    let name = at.text()?;
    if RESERVED.contains(&name) {
        at.error(
            format!("'{name}' is a file of the study's own"),
            Some("choose another name".to_owned()),
        );
        return None;
    }
    let safe = safe_name(name);
    if safe != name {
        at.warning(
            format!(
                "'{}' can not name a directory; the experiment is called '{safe}'",
                super::fields::shorten(name)
            ),
            None,
        );
    }
    Some(safe)
}
