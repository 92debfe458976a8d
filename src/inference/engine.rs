mod generator;

use super::{
    LoadOptions, classify,
    config::{self, ModelConfig},
    device, fingerprint, heap, host,
    linear::{self, Precision},
    loader::Layout,
    memory,
    network::Network,
    pack::Pack,
    parts::Parts,
    prefix::{self, KeptPrompt},
    sampling::Sampler,
    sequence::Sequence,
    text::TextModel,
    weight_cache::WeightCache,
    weights::Weights,
};
use crate::{
    domain::{
        Dtype, Failure, FailureClass, FinishReason, Generated, GenerationRequest,
        GenerationSettings, Quantization,
    },
    hub::ModelFiles,
};
use candle_core::{DType, Tensor};
use rayon::prelude::*;
use std::{
    cmp::Reverse,
    collections::VecDeque,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

/// What an engine has done since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    /// Forward passes over pieces of prompts.
    pub prefill_passes: usize,
    /// Forward passes that gave every running answer one token.
    pub decode_passes: usize,
    /// Prompt tokens computed.
    pub prompt_tokens: usize,
    /// Prompt tokens that were not, because another prompt begins alike.
    pub shared_tokens: usize,
    /// Answer tokens computed.
    pub answer_tokens: usize,
    /// Time until all prompts were read.
    pub prefill_time: Duration,
    /// Time that the answers took from then on.
    pub decode_time: Duration,
}

/// A loaded model.
pub struct Engine {
    label: String,
    revision: Option<String>,
    /// SHA-256 of the weights and of the tokenizer, where they were asked for.
    identity: [Option<String>; 2],
    network: Network,
    text: TextModel,
    options: LoadOptions,
    stats: EngineStats,
    /// The prompt of the sequence that the decoder keeps.
    kept: Option<KeptPrompt>,
}

/// What an engine tells while it completes prompts.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A forward pass is over.
    Progress {
        /// Tokens of prompts and answers that it computed.
        tokens: usize,
    },
    /// One prompt is complete.
    Done {
        /// The prompt's number.
        idx: usize,
        /// Its completion.
        generated: Generated,
        /// The completion's tokens, EOS excluded, before anything was cut off
        /// by a stop text.
        tokens: Vec<u32>,
    },
    /// One prompt can not be completed; the others go on.
    Failed {
        /// The prompt's number.
        idx: usize,
        /// Why; its class is `bad_item`.
        failure: Failure,
    },
}

type Tell<'a> = dyn FnMut(Step) + 'a;

impl Engine {
    pub(super) fn load(files: &ModelFiles, options: &LoadOptions) -> Result<Self, Failure> {
        let label = files.label.clone();
        let Parts {
            config,
            text,
            weights,
        } = Parts::read(files, options.quantization)?;
        let device = options.device.open()?;
        if device.is_cpu() {
            heap::keep_what_is_freed();
        }
        let compute = compute_type(options.dtype, &weights, &config, device.is_cpu());
        let layout = Layout {
            compute,
            precision: match options.quantization {
                Quantization::None if device.is_cpu() => Precision::of_cpu(options.dtype),
                Quantization::None => Precision::Float(compute),
                Quantization::Int8 => Precision::Eight,
                Quantization::Int4 => Precision::Four,
            },
            tensor_attention: options.tensor_attention,
        };
        if config.is_borrowed() && options.quantization != Quantization::None {
            return Err(config::permanent(format!(
                "{label}: weights of the architecture {} can not be quantised ({}); leave the quantization out",
                config.family, options.quantization
            )));
        }
        let cache = options.cache.as_ref().and_then(|directory| {
            let order = linear::order(&device, compute);
            WeightCache::open(directory, &files.weights, options.quantization, &order)
        });
        let identity = match &options.cache {
            Some(directory) => fingerprint::identity(files, directory),
            None => [None, None],
        };
        let network = Network::load(files, config, &weights, layout, &device, cache)?;
        // The layers came from rayon's threads.
        #[cfg(feature = "cuda")]
        device::settle(&device).map_err(|error| classify::at_load(&label, &error))?;
        Ok(Self {
            label,
            revision: files.revision.clone(),
            identity,
            network,
            text,
            options: options.clone(),
            stats: EngineStats::default(),
            kept: None,
        })
    }

    /// What was done so far.
    pub const fn stats(&self) -> EngineStats {
        self.stats
    }

    /// The configuration.
    pub const fn config(&self) -> &ModelConfig {
        self.network.config()
    }

    /// The prompt tokens of a request, as the model gets them.
    ///
    /// # Errors
    /// Why this prompt can not be used; class `bad_item`.
    pub fn tokens(&self, request: &GenerationRequest) -> Result<Vec<u32>, Failure> {
        self.text.encode(request)
    }

    /// Whether a token ends an answer.
    pub fn ends(&self, token: u32) -> bool {
        self.text.is_end(token)
    }

    /// Completes prompts, given as tokens under numbers, as one batch, and
    /// tells each result as soon as it is there.
    ///
    /// # Errors
    /// A failure of the batch as a whole. Results told before it stay valid.
    pub fn complete(
        &mut self,
        prompts: Vec<(usize, Vec<u32>)>,
        settings: &GenerationSettings,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), Failure> {
        let mut sequences = Vec::with_capacity(prompts.len());
        for (idx, tokens) in prompts {
            let admitted = self
                .text
                .check(&tokens)
                .and_then(|()| self.admit(idx, tokens, settings.max_new_tokens));
            match admitted {
                Ok(sequence) if settings.max_new_tokens == 0 => tell(Step::Done {
                    idx,
                    generated: Generated {
                        text: String::new(),
                        tokens_in: sequence.prompt.len(),
                        tokens_out: 0,
                        finish: FinishReason::Length,
                        passages_cut: 0,
                    },
                    tokens: Vec::new(),
                }),
                Ok(sequence) => sequences.push(sequence),
                Err(failure) => tell(Step::Failed { idx, failure }),
            }
        }
        if self.shares_prefixes() {
            let config = self.network.config();
            self.stats.shared_tokens +=
                prefix::share(&mut sequences, self.kept.as_ref(), |capacity| {
                    config.rotates_as_long(capacity)
                });
        } else {
            sequences.sort_by_key(|sequence| Reverse(sequence.prompt.len()));
        }
        let result = self
            .groups(sequences)
            .into_iter()
            .try_for_each(|group| self.run(group, settings, tell));
        self.network.clear();
        result
    }

    /// The batch size that fits into the memory that is free now, for prompts
    /// of these lengths in tokens.
    pub fn auto_batch_size(
        &self,
        prompt_lengths: &[usize],
        settings: &GenerationSettings,
    ) -> usize {
        let on_cpu = self.network.device().is_cpu();
        let sharers = self.options.sharers.map_or(1, NonZeroUsize::get) as u64;
        let available = device::available_bytes(self.network.device()).unwrap_or(1 << 30) / sharers;
        memory::batch_size(
            self.network.config(),
            self.network.value_bytes(),
            available,
            prompt_lengths,
            settings,
            memory::most_rows(on_cpu),
        )
    }

    /// The logits after the last token of each prompt, for parity checks:
    /// `[prompts][vocab]`, all prompts as one batch.
    ///
    /// # Errors
    /// When a prompt is empty, too long or holds an unknown id, or the device
    /// fails.
    pub fn logits(&mut self, prompts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, Failure> {
        let mut sequences = Vec::new();
        for (idx, prompt) in prompts.iter().enumerate() {
            self.text.check(prompt)?;
            sequences.push(self.admit(idx, prompt.clone(), 1)?);
        }
        let mut rows = vec![Vec::new(); prompts.len()];
        for mut waiting in self.groups(sequences) {
            self.begin(&mut waiting)?;
            while !waiting.is_empty() {
                let (pack, ready) = self.prefill_pack(&mut waiting);
                if let Some(logits) = self.forward(&pack)? {
                    let values = self
                        .network
                        .logits(&logits)
                        .and_then(|logits| logits.to_vec2::<f32>())
                        .map_err(|e| classify::in_batch(&e))?;
                    for (sequence, values) in ready.iter().zip(values) {
                        rows[sequence.idx] = values;
                    }
                }
            }
        }
        self.network.clear();
        Ok(rows)
    }

    /// Whether prompts that begin alike share what they begin with.
    const fn shares_prefixes(&self) -> bool {
        self.options.shares_prefixes() && !self.network.wants_equal_lengths()
    }

    /// The sequences that run together, in their order: all of them, or those
    /// of one length.
    fn groups(&self, sequences: Vec<Sequence>) -> Vec<VecDeque<Sequence>> {
        if !self.network.wants_equal_lengths() {
            return vec![sequences.into()];
        }
        let mut groups: Vec<VecDeque<Sequence>> = Vec::new();
        for sequence in sequences {
            let same = |group: &&mut VecDeque<Sequence>| {
                group
                    .front()
                    .is_some_and(|first| first.prompt.len() == sequence.prompt.len())
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.push_back(sequence),
                None => groups.push(VecDeque::from([sequence])),
            }
        }
        groups
    }

    /// Makes a sequence of a prompt that fits into the context.
    fn admit(&self, idx: usize, prompt: Vec<u32>, new_tokens: usize) -> Result<Sequence, Failure> {
        let context = self.network.config().max_positions;
        if prompt.is_empty() {
            return Err(Failure::new(
                FailureClass::BadItem,
                "the prompt has no tokens",
            ));
        }
        if prompt.len() >= context {
            return Err(Failure::new(
                FailureClass::BadItem,
                format!(
                    "the prompt has {} tokens, but the context of {} holds {context}, the answer included",
                    prompt.len(),
                    self.label
                ),
            ));
        }
        let capacity = context.min(prompt.len() + new_tokens);
        Ok(Sequence::new(idx, prompt, capacity))
    }

    /// Gives every sequence its slot, if there is memory for all of them.
    fn begin(&mut self, sequences: &mut VecDeque<Sequence>) -> Result<(), Failure> {
        let capacities: Vec<usize> = sequences.iter().map(|s| s.capacity).collect();
        let needed = self.network.cache_bytes(&capacities) as u64;
        // On a GPU the allocation itself fails; the processor's memory would
        // run out later, by a signal.
        if self.network.device().is_cpu()
            && let Some(available) = device::available_bytes(self.network.device())
            && needed > available
        {
            return Err(Failure::new(
                FailureClass::Oom,
                format!(
                    "out of memory: the keys and values of {} prompts need {} MiB, and {} MiB are free",
                    capacities.len(),
                    needed >> 20,
                    available >> 20
                ),
            ));
        }
        for (slot, sequence) in sequences.iter_mut().enumerate() {
            sequence.slot = slot;
        }
        self.network
            .begin(&capacities)
            .map_err(|error| classify::in_batch(&error))
    }

    /// The next piece of the waiting prompts, and the sequences whose prompts
    /// it completes.
    fn prefill_pack(&self, waiting: &mut VecDeque<Sequence>) -> (Pack, Vec<Sequence>) {
        let budget = if self.network.wants_equal_lengths() {
            usize::MAX
        } else {
            self.options.prefill_tokens(self.network.device().is_cpu())
        };
        let mut pack = Pack::default();
        let mut ready = Vec::new();
        while pack.rows() < budget
            && let Some(mut sequence) = waiting.pop_front()
        {
            let start = sequence.past;
            let end = sequence.prompt.len().min(start + budget - pack.rows());
            let is_last = end == sequence.prompt.len();
            let piece = &sequence.prompt[start..end];
            pack.push(sequence.slot, start, sequence.capacity, piece);
            if let Some(prefix) = sequence.prefix.take() {
                pack.begin_with(prefix);
            }
            sequence.past = end;
            if is_last {
                pack.want_last();
                ready.push(sequence);
            } else {
                waiting.push_front(sequence);
            }
        }
        (pack, ready)
    }

    fn forward(&mut self, pack: &Pack) -> Result<Option<Tensor>, Failure> {
        self.network
            .forward(pack)
            .map_err(|error| classify::in_batch(&error))
    }

    /// Completes all sequences in their order.
    fn run(
        &mut self,
        mut waiting: VecDeque<Sequence>,
        settings: &GenerationSettings,
        tell: &mut Tell<'_>,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        self.begin(&mut waiting)?;
        let mut running: Vec<Sequence> = Vec::new();
        // Any prompt will do for what the next batch shares with this one.
        let keep = waiting
            .get(waiting.len() / 2)
            .filter(|_| self.shares_prefixes());
        let mut keep = keep.map(|sequence| {
            let kept = KeptPrompt {
                tokens: sequence.prompt.clone(),
                capacity: sequence.capacity,
            };
            (sequence.slot, kept)
        });
        let mut freed = Vec::new();
        while !waiting.is_empty() {
            let (pack, ready) = self.prefill_pack(&mut waiting);
            let logits = self.forward(&pack)?;
            self.stats.prefill_passes += 1;
            self.stats.prompt_tokens += pack.rows();
            if let Some(logits) = logits {
                freed.extend(self.advance(ready, &logits, settings, tell, &mut running)?);
            }
            tell(Step::Progress {
                tokens: pack.rows(),
            });
        }
        // Until now others could begin with what a finished one left.
        self.release(freed, running.iter_mut(), &mut keep)?;
        let read = Instant::now();
        self.stats.prefill_time += read - started;
        while !running.is_empty() {
            running.sort_by_key(|sequence| sequence.slot);
            let mut pack = Pack::default();
            for sequence in &mut running {
                let token = sequence.last_token();
                pack.push(sequence.slot, sequence.past, sequence.capacity, &[token]);
                pack.want_last();
                sequence.past += 1;
            }
            let logits = self.forward(&pack)?;
            self.stats.decode_passes += 1;
            self.stats.answer_tokens += pack.rows();
            let Some(logits) = logits else { break };
            let stepped = std::mem::take(&mut running);
            let freed = self.advance(stepped, &logits, settings, tell, &mut running)?;
            self.release(freed, running.iter_mut(), &mut keep)?;
            tell(Step::Progress {
                tokens: pack.rows(),
            });
        }
        self.stats.decode_time += read.elapsed();
        Ok(())
    }

    /// Gives each sequence its next token. Those that go on are appended to
    /// `running`; the slots of the others are returned.
    fn advance(
        &self,
        sequences: Vec<Sequence>,
        logits: &Tensor,
        settings: &GenerationSettings,
        tell: &mut Tell<'_>,
        running: &mut Vec<Sequence>,
    ) -> Result<Vec<usize>, Failure> {
        let sampler = Sampler::of(settings);
        let chosen = choose(&self.network, &sequences, logits, sampler.as_ref())
            .map_err(|error| classify::in_batch(&error))?;
        let mut freed = Vec::new();
        for (mut sequence, token) in sequences.into_iter().zip(chosen) {
            let slot = sequence.slot;
            let Some(token) = token else {
                freed.push(slot);
                tell(Step::Failed {
                    idx: sequence.idx,
                    failure: Failure::new(
                        FailureClass::BadItem,
                        "the model computed logits that are not finite for this prompt",
                    ),
                });
                continue;
            };
            match sequence.push(token, &self.text, settings) {
                Some(generated) => {
                    freed.push(slot);
                    tell(Step::Done {
                        idx: sequence.idx,
                        generated,
                        tokens: sequence.into_answer(),
                    });
                }
                None => running.push(sequence),
            }
        }
        Ok(freed)
    }

    /// Frees slots, the highest first, and follows sequences that move. The
    /// sequence in the slot to keep is kept with its prompt.
    fn release<'a>(
        &mut self,
        mut freed: Vec<usize>,
        others: impl Iterator<Item = &'a mut Sequence>,
        keep: &mut Option<(usize, KeptPrompt)>,
    ) -> Result<(), Failure> {
        if freed.is_empty() {
            return Ok(());
        }
        let mut others: Vec<&mut Sequence> = others.collect();
        freed.sort_unstable_by_key(|slot| Reverse(*slot));
        for slot in freed {
            if let Some((_, prompt)) = keep.take_if(|(kept, _)| *kept == slot) {
                // The one before is gone, also where this one is not kept.
                self.kept = self.network.keep(slot).then_some(prompt);
            }
            let moved = self
                .network
                .release(slot)
                .map_err(|error| classify::in_batch(&error))?;
            for sequence in &mut others {
                if Some(sequence.slot) == moved {
                    sequence.slot = slot;
                }
            }
        }
        Ok(())
    }
}

/// The type of activations: f32 on the processor, elsewhere what was asked
/// for or the weights' own.
fn compute_type(dtype: Dtype, weights: &Weights, config: &ModelConfig, on_cpu: bool) -> DType {
    if on_cpu || config.is_in_full() {
        return DType::F32;
    }
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::BF16,
        Dtype::Auto => weights
            .dtype(&format!("{}.embed_tokens.weight", config.prefix))
            .unwrap_or(DType::F32),
    }
}

/// The next token of each row of what the head said; `None` where a logit is
/// not finite.
fn choose(
    network: &Network,
    sequences: &[Sequence],
    said: &Tensor,
    sampler: Option<&Sampler>,
) -> candle_core::Result<Vec<Option<u32>>> {
    let Some(sampler) = sampler else {
        return network.greedy(said);
    };
    let logits = network.logits(said)?.to_device(&candle_core::Device::Cpu)?;
    let vocab = logits.dim(1)?;
    host::with_f32(&logits, |values| {
        Ok(sequences
            .par_iter()
            .zip(values.par_chunks_exact(vocab))
            .map(|(sequence, row)| {
                let is_finite = row.iter().all(|logit| logit.is_finite());
                is_finite.then(|| sequence.draw(sampler, row))
            })
            .collect())
    })
}
