use super::{
    super::{LoadOptions, classify, linear::float_name},
    config::{EncoderConfig, Family},
    head::Head,
    identity,
    loader::Loader,
    packing::{TextPack, packs},
    text::{EncoderText, Tokens},
    transformer::Transformer,
};
use crate::{
    domain::{Failure, FailureClass},
    hub::{ModelFiles, WeightFiles},
};
use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};
use tokenizers::EncodeInput;

/// What an encoder tells while it works through a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum EncoderEvent {
    /// A layer was computed for some of the texts.
    Progress,
    /// Some texts are done.
    Rows {
        /// Which ones, by their place in the batch.
        indices: Vec<usize>,
        /// Their results one after the other, all of one width.
        values: Vec<f32>,
    },
    /// One text can not be encoded; the others can.
    Failed {
        /// Its place in the batch.
        index: usize,
        /// Why; class `bad_item`.
        failure: Failure,
    },
}

/// What embedder and classifier share: a model, its tokenizer, its packs.
pub struct Runner {
    pub(super) model: Transformer,
    pub(super) text: EncoderText,
    /// What decides the numbers of the model.
    pub(super) source: String,
    label: String,
}

/// How much of a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Every layer.
    All,
    /// Every layer and the classification head.
    WithHead,
    /// The first layers, as many as this.
    Layers(usize),
}

/// Rows and results of a pack: computed from the encoder's last rows.
pub type Finish<'a> = dyn Fn(&Transformer, Tensor, &TextPack) -> candle_core::Result<Vec<f32>> + 'a;

impl Runner {
    /// Loads a part of a model. Texts are cut after `max_tokens` tokens, where
    /// that is less than the model allows.
    ///
    /// # Errors
    /// One sentence (class `permanent`) that names the file, key or tensor;
    /// the device's failure when it has no room.
    pub fn load(
        files: &ModelFiles,
        options: &LoadOptions,
        max_tokens: Option<usize>,
        part: Part,
    ) -> Result<(Self, Option<Head>), Failure> {
        if let WeightFiles::Gguf(path) = &files.weights {
            return Err(Failure::new(
                FailureClass::Permanent,
                format!(
                    "{} is a GGUF file, which is no encoder here; name the model in safetensors format (hf:org/name)",
                    path.display()
                ),
            ));
        }
        let mut config = EncoderConfig::of_files(files)?;
        if let Part::Layers(count) = part {
            keep_layers(&mut config, count, &files.label)?;
        }
        let limit = longest_text(files, &config, max_tokens)?;
        let text = EncoderText::load(files, config.vocab, limit)?;
        let loader = Loader::new(files, &config, options)?;
        let (source, model) = rayon::join(|| identity::source(files), || loader.transformer());
        let head = match part {
            Part::WithHead => Some(loader.head()?),
            Part::All | Part::Layers(_) => None,
        };
        let runner = Self {
            model: model?,
            text,
            source: source?,
            label: files.label.clone(),
        };
        Ok((runner, head))
    }

    /// Whether positions and names are RoBERTa's.
    pub fn is_roberta(&self) -> bool {
        self.model.config().family == Family::Roberta
    }

    /// Tokens per pass that suit the device.
    pub fn usual_budget(&self) -> usize {
        match self.model.device().is_cpu() {
            true => 2048,
            false => 32 << 10,
        }
    }

    /// Encodes texts or pairs, at most `budget` tokens at once, and tells each
    /// pack's results as soon as they are there.
    ///
    /// # Errors
    /// A failure of the batch as a whole. Results told before it stay valid.
    pub fn run<'s, T: Into<EncodeInput<'s>> + Send>(
        &mut self,
        texts: Vec<T>,
        budget: Option<usize>,
        wanted: impl Fn(&TextPack) -> Option<Vec<u32>>,
        finish: &Finish<'_>,
        tell: &mut dyn FnMut(EncoderEvent),
    ) -> Result<(), Failure> {
        let mut ready: Vec<(usize, Tokens)> = Vec::with_capacity(texts.len());
        for (index, tokens) in self.text.encode(texts).into_iter().enumerate() {
            match tokens {
                Ok(tokens) => ready.push((index, tokens)),
                Err(failure) => tell(EncoderEvent::Failed { index, failure }),
            }
        }
        let budget = budget.unwrap_or_else(|| self.usual_budget());
        for pack in packs(&ready, budget) {
            let wanted = wanted(&pack);
            let values = self
                .model
                .forward(&pack, wanted.as_deref(), &mut || {
                    tell(EncoderEvent::Progress)
                })
                .and_then(|x| finish(&self.model, x, &pack))
                .map_err(|error| classify::in_batch(&error))?;
            hand_out(pack.indices, values, tell);
        }
        Ok(())
    }

    /// What is reported of the model beside what its role adds.
    pub fn describe(&self, more: Value) -> Value {
        let mut all = Map::new();
        all.insert("model".to_owned(), json!(self.label));
        all.insert("source".to_owned(), json!(self.source));
        all.insert("device".to_owned(), json!(self.device_name()));
        all.insert("dtype".to_owned(), json!(self.dtype_name()));
        all.insert("max_tokens".to_owned(), json!(self.text.max_tokens()));
        all.insert("budget".to_owned(), json!(self.usual_budget()));
        if let Value::Object(more) = more {
            all.extend(more);
        }
        Value::Object(all)
    }

    /// The type of activations.
    pub fn dtype_name(&self) -> &'static str {
        float_name(self.model.compute())
    }

    fn device_name(&self) -> &'static str {
        match self.model.device().is_cpu() {
            true => "cpu",
            false => "cuda",
        }
    }
}

/// Tokens in a text at most: `max_tokens`, or what the tokenizer says, where
/// that is less than the model allows.
pub fn longest_text(
    files: &ModelFiles,
    config: &EncoderConfig,
    max_tokens: Option<usize>,
) -> Result<usize, Failure> {
    let limit = match max_tokens {
        Some(tokens) => tokens,
        None => EncoderText::model_max_length(files)?.unwrap_or(usize::MAX),
    };
    Ok(limit.min(config.max_tokens))
}

/// Leaves the first `count` layers.
fn keep_layers(config: &mut EncoderConfig, count: usize, label: &str) -> Result<(), Failure> {
    let there = config.layers.len();
    // What leaves an inner layer of ModernBERT was not normed yet.
    let message = if config.family == Family::ModernBert {
        format!("{label} is a ModernBERT, whose inner layers can not be compared")
    } else if !(1..=there).contains(&count) {
        format!("{label} has {there} layers, so there is no layer {count}")
    } else {
        config.layers.truncate(count);
        return Ok(());
    };
    Err(Failure::new(FailureClass::Permanent, message))
}

/// Tells the results of a pack; rows that are not finite are failures of their
/// own texts.
pub fn hand_out(indices: Vec<usize>, values: Vec<f32>, tell: &mut dyn FnMut(EncoderEvent)) {
    let width = values.len() / indices.len().max(1);
    if width == 0 {
        return;
    }
    if values.iter().all(|value| value.is_finite()) {
        return tell(EncoderEvent::Rows { indices, values });
    }
    for (index, row) in indices.into_iter().zip(values.chunks_exact(width)) {
        if row.iter().all(|value| value.is_finite()) {
            tell(EncoderEvent::Rows {
                indices: vec![index],
                values: row.to_vec(),
            });
        } else {
            tell(EncoderEvent::Failed {
                index,
                failure: Failure::new(
                    FailureClass::BadItem,
                    "the model computed numbers that are not finite for this text",
                ),
            });
        }
    }
}

/// The values of a tensor `[rows, width]`, in f32 in host memory.
pub fn values(x: &Tensor) -> candle_core::Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()
}

/// Collects the results of a batch of `count` in their order.
///
/// # Errors
/// The batch's failure, or the first text's that failed.
pub fn collect(
    count: usize,
    run: impl FnOnce(&mut dyn FnMut(EncoderEvent)) -> Result<(), Failure>,
) -> Result<Vec<Vec<f32>>, Failure> {
    let mut results = vec![Vec::new(); count];
    let mut failed = None;
    run(&mut |event| match event {
        EncoderEvent::Progress => {}
        EncoderEvent::Rows { indices, values } => {
            let width = values.len() / indices.len().max(1);
            for (index, row) in indices.into_iter().zip(values.chunks_exact(width.max(1))) {
                results[index] = row.to_vec();
            }
        }
        EncoderEvent::Failed { failure, .. } => {
            failed.get_or_insert(failure);
        }
    })?;
    match failed {
        Some(failure) => Err(failure),
        None => Ok(results),
    }
}
