use super::protocol::Load;
use crate::{
    domain::{
        Failure, FailureClass, GenerationEvent, GenerationRequest, GenerationSettings, Generator,
        Provider,
    },
    hub,
    inference::{self, Engine, LoadOptions},
    remote::OpenAi,
};
use serde_json::Value;

/// What a worker serves: a model on this machine's device, or one behind a
/// server.
pub enum Model {
    Local(Box<Engine>),
    Remote(Box<OpenAi>),
}

impl Model {
    /// Loads what was asked for; a remote model has nothing to load.
    pub fn load(load: &Load) -> Result<Self, Failure> {
        if load.model.provider == Provider::Openai {
            let model = OpenAi::new(&load.model)?;
            return Ok(Self::Remote(Box::new(match load.batch_timeout {
                Some(batch_timeout) => model.within(batch_timeout),
                None => model,
            })));
        }
        let files = hub::locate(&load.model, load.base.as_deref())
            .map_err(|error| Failure::new(FailureClass::Permanent, error.to_string()))?;
        let device = load
            .device
            .parse()
            .map_err(|error: String| Failure::new(FailureClass::Permanent, error))?;
        let engine = inference::load(
            &files,
            &LoadOptions {
                quantization: load.quantization,
                dtype: load.model.dtype,
                device,
                cache: load.cache.clone(),
                sharers: Some(load.sharers),
                ..LoadOptions::default()
            },
        )?;
        Ok(Self::Local(Box::new(engine)))
    }

    /// How large a batch of such prompts may be.
    pub fn batch_size(
        &self,
        requests: &[GenerationRequest],
        settings: &GenerationSettings,
    ) -> usize {
        match self {
            Self::Local(engine) => {
                // A prompt that can not be used costs no memory.
                let lengths: Vec<usize> = requests
                    .iter()
                    .filter_map(|request| engine.tokens(request).ok())
                    .map(|tokens| tokens.len())
                    .collect();
                engine.auto_batch_size(&lengths, settings)
            }
            Self::Remote(model) => model.auto_batch_size(),
        }
    }

    fn generator(&mut self) -> &mut dyn Generator {
        match self {
            Self::Local(engine) => &mut **engine,
            Self::Remote(model) => &mut **model,
        }
    }
}

impl Generator for Model {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
        settings: &GenerationSettings,
        tell: &mut dyn FnMut(GenerationEvent),
    ) -> Result<(), Failure> {
        self.generator().generate(requests, settings, tell)
    }

    fn release_caches(&mut self) -> Result<(), Failure> {
        self.generator().release_caches()
    }

    fn describe(&self) -> Value {
        match self {
            Self::Local(engine) => engine.describe(),
            Self::Remote(model) => model.describe(),
        }
    }
}
