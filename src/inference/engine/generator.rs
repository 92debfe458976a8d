use super::{Engine, Step};
use crate::{
    domain::{
        Failure, Generated, GenerationEvent, GenerationRequest, GenerationSettings, Generator,
    },
    inference::{fitting, heap, linear::float_name},
};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

#[cfg(feature = "cuda")]
use crate::inference::{classify, device};

impl Generator for Engine {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
        settings: &GenerationSettings,
        tell: &mut dyn FnMut(GenerationEvent),
    ) -> Result<(), Failure> {
        let room = fitting::room(self.network.config().max_positions, settings.max_new_tokens);
        let encoded: Vec<Result<(Vec<u32>, usize), Failure>> = requests
            .par_iter()
            .map(|request| fitting::fit(request, room, |request| self.text.encode(request)))
            .collect();
        let mut prompts = Vec::with_capacity(requests.len());
        let mut cut = HashMap::new();
        for (request, fitted) in requests.iter().zip(encoded) {
            match fitted {
                Ok((tokens, passages)) => {
                    if passages > 0 {
                        cut.insert(request.idx, passages);
                    }
                    prompts.push((request.idx, tokens));
                }
                Err(failure) => tell(GenerationEvent::Failed {
                    idx: request.idx,
                    failure,
                }),
            }
        }
        self.complete(prompts, settings, &mut |step| {
            tell(match step {
                Step::Progress { tokens } => GenerationEvent::Progress { tokens },
                Step::Done { idx, generated, .. } => GenerationEvent::Done {
                    idx,
                    generated: Generated {
                        passages_cut: cut.get(&idx).copied().unwrap_or(0),
                        ..generated
                    },
                },
                Step::Failed { idx, failure } => GenerationEvent::Failed { idx, failure },
            });
        })
    }

    fn release_caches(&mut self) -> Result<(), Failure> {
        self.network.clear();
        self.network.forget();
        self.kept = None;
        heap::give_back();
        #[cfg(feature = "cuda")]
        device::trim(self.network.device()).map_err(|error| classify::in_batch(&error))?;
        Ok(())
    }

    fn describe(&self) -> Value {
        let config = self.network.config();
        let stored = self.network.stored();
        let weights: usize = stored.iter().map(|(_, stored)| stored.weights).sum();
        let bytes: usize = stored.iter().map(|(_, stored)| stored.bytes).sum();
        let tensors: Map<String, Value> = stored
            .iter()
            .map(|(name, stored)| (name.clone(), Value::from(stored.kind.as_str())))
            .collect();
        json!({
            "model": self.label,
            "revision": self.revision,
            "weights_sha256": self.identity[0],
            "tokenizer_sha256": self.identity[1],
            "architecture": config.family,
            "device": self.options.device.to_string(),
            "quantization": self.options.quantization.as_str(),
            "compute": float_name(self.network.compute()),
            "context": config.max_positions,
            "chat_template": self.text.has_template(),
            "weights": weights,
            "bytes": bytes,
            "bits_per_weight": bytes as f64 * 8.0 / weights.max(1) as f64,
            "kv_bytes_per_token": config.kv_bytes_per_token(self.network.value_bytes()),
            "tensors": tensors,
        })
    }
}
