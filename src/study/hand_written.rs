use super::{
    catalog::Names,
    entries::{self, Choice, PromptChoice, QUANTIZATIONS},
    fields::{At, Fields},
    grid::{Axes, FetchK, RagAxes},
    keys, paths,
    reader::{checked_name, default_agent},
    retriever::Retrievers,
    settings,
    steps::{self, Agent, Reranker},
};
use crate::domain::{
    AgentKind, DatasetSpec, GenerationSettings, ModelSpec, Quantization, RetrieverKind,
    RunSettings, reranking_model,
};

/// An entry of `experiments`.
pub(super) struct HandWritten<'a> {
    pub name: String,
    pub hypothesis: Option<String>,
    /// Where it wants others than the study's.
    pub settings: Option<RunSettings>,
    pub axes: Axes<'a>,
}

/// What entries of `experiments` refer to.
pub(super) struct Context<'a> {
    pub names: &'a Names<'a>,
    pub datasets: &'a [Choice<DatasetSpec>],
    pub retrievers: &'a Retrievers,
    pub default_model: Option<&'a Choice<ModelSpec>>,
    pub generation: &'a GenerationSettings,
    pub settings: &'a RunSettings,
    pub metrics: &'a dyn Fn(At<'_>) -> Vec<String>,
}

impl<'a> Context<'a> {
    /// Reads one entry; what is wrong with it is reported.
    pub fn read(&self, at: &At<'_>) -> Option<HandWritten<'a>> {
        let fields = at.fields(keys::EXPERIMENT)?;
        let name = fields
            .required("name", "a hand-written experiment has a name")
            .and_then(|at| checked_name(&at));
        let model = match fields.get("model") {
            Some(at) => entries::model(&at, self.names),
            None => {
                if self.default_model.is_none() {
                    fields.required("model", "write model, or a list models at the top level");
                }
                self.default_model.cloned()
            }
        };
        let datasets = match fields.get("dataset") {
            Some(at) => Vec::from_iter(entries::dataset(&at, self.names)).into(),
            None => {
                if self.datasets.is_empty() {
                    fields.required("dataset", "write dataset, or datasets at the top level");
                }
                self.datasets.into()
            }
        };
        let prompt = match fields.get("prompt") {
            Some(at) => entries::prompt(&at, self.names),
            None => Some(Choice::new(
                PromptChoice::Named("default".to_owned()),
                &fields.at,
            )),
        };
        let quantization = match fields.either(&["quantization", "quant"]) {
            Some(at) => at.choice(QUANTIZATIONS),
            None => Some(Quantization::None),
        };
        let rag = self.rag_axes(&fields);
        let mut settings = self.settings.clone();
        settings::batch_sizes(&fields, &mut settings);
        if let Some(at) = fields.get("metrics") {
            settings.metrics = (self.metrics)(at);
        }
        let hypothesis = fields.get("hypothesis").and_then(|at| at.text());
        let generation = settings::generation(fields.get("generation"), self.generation);
        Some(HandWritten {
            name: name?,
            hypothesis: hypothesis.map(str::to_owned),
            settings: (settings != *self.settings).then_some(settings),
            axes: Axes {
                section: Choice::new((), at).origin,
                models: vec![model?],
                quantizations: vec![quantization?],
                prompts: vec![prompt?],
                datasets,
                generation,
                rag: rag?,
            },
        })
    }

    /// `Some(None)` for an experiment without retrieval, `None` when
    /// something is wrong.
    fn rag_axes(&self, fields: &Fields<'_>) -> Option<Option<RagAxes>> {
        let agent_at = fields.either(&["agent", "agent_type"]);
        let retriever_at = fields.get("retriever");
        let mut agent = match &agent_at {
            Some(at) => steps::agent(at, self.names)?,
            None if retriever_at.is_some() => default_agent(fields, AgentKind::FixedRag),
            None => default_agent(fields, AgentKind::DirectLlm),
        };
        self.read_settings(fields, &mut agent);
        let transform = match fields.get("query_transform") {
            Some(at) => steps::query_transform(&at, self.names)?,
            None => Choice::new(None, &fields.at),
        };
        let reranker = self.reranker(fields)?;
        let top_k = fields.get("top_k").map(|at| at.integer(1));
        let fetch_k = fields.get("fetch_k").map(|at| at.integer(1));
        let Some(retriever_at) = retriever_at else {
            return self.without_retrieval(fields, &agent, agent_at.as_ref());
        };
        let retriever = self.retrievers.entry(&retriever_at, self.names)?;
        if agent.value.kind == AgentKind::DirectLlm {
            retriever_at.error(
                "the agent direct_llm does not retrieve",
                Some("remove the retriever, or the agent".to_owned()),
            );
            return None;
        }
        let is_gold = retriever.value.kind == RetrieverKind::Gold;
        if is_gold && agent.value.kind != AgentKind::FixedRag {
            retriever_at.error(
                "gold gives each question its own passages, and this agent searches",
                Some("name another retriever, or remove the agent".to_owned()),
            );
            return None;
        }
        Some(Some(RagAxes {
            retrievers: vec![retriever],
            top_ks: vec![top_k.unwrap_or(Some(5))?],
            agents: vec![agent],
            transforms: vec![transform],
            rerankers: vec![reranker],
            fetch_k: match fetch_k {
                Some(number) => FetchK::Fixed(number?),
                None => FetchK::Times(4),
            },
        }))
    }

    fn without_retrieval(
        &self,
        fields: &Fields<'_>,
        agent: &Choice<Agent>,
        agent_at: Option<&At<'_>>,
    ) -> Option<Option<RagAxes>> {
        if agent.value.kind != AgentKind::DirectLlm {
            if let Some(at) = agent_at {
                at.error(
                    "this agent needs a retriever",
                    Some("write retriever: a name of rag.retrievers".to_owned()),
                );
            }
            return None;
        }
        for key in ["top_k", "fetch_k", "query_transform", "reranker"] {
            if let Some(at) = fields.get(key) {
                at.error(
                    "without a retriever this means nothing",
                    Some("remove it, or write retriever".to_owned()),
                );
            }
        }
        Some(None)
    }

    /// Settings of the agent, beside it or in a mapping of its name.
    fn read_settings(&self, fields: &Fields<'_>, agent: &mut Choice<Agent>) {
        for (key, kind) in [
            ("iterative_rag", AgentKind::IterativeRag),
            ("self_rag", AgentKind::SelfRag),
        ] {
            let Some(at) = fields.get(key) else { continue };
            if agent.value.kind != kind {
                at.warning(
                    format!("ignored: the agent of this experiment is not {key}"),
                    None,
                );
            } else if let Some(block) = at.fields(keys::AGENT_SETTINGS) {
                agent.value.settings.extend(steps::agent_settings(&block));
            }
        }
        agent.value.settings.extend(steps::agent_settings(fields));
    }

    fn reranker(&self, fields: &Fields<'_>) -> Option<Choice<Option<Reranker>>> {
        let mut reranker = match fields.get("reranker") {
            Some(at) => steps::reranker(&at, self.names)?,
            None => Choice::new(None, &fields.at),
        };
        if let Some(at) = fields.get("reranker_model") {
            let model = paths::expand(&at, at.text()?, self.names)?;
            paths::remember_encoder(&at, reranking_model(&model));
            match &mut reranker.value {
                Some(reranker) => reranker.model = model,
                None => at.error(
                    "there is no reranker that could have this model",
                    Some("write reranker too".to_owned()),
                ),
            }
        }
        Some(reranker)
    }
}
