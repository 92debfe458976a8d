use super::{
    super::{
        LoadOptions, classify,
        device::available_bytes,
        instructions::Instructions,
        linear::{Linear, Place, Precision},
        rope::{RopeConfig, RopeScaling, RopeTable},
        weights::Weights,
    },
    config::{EncoderConfig, Family, HeadInput, Positions},
    distances::Distances,
    head::{Head, HeadKind},
    transformer::{Embeddings, EncoderLayer, Norm, Projection, Transformer},
};
use crate::{
    domain::{Dtype, Failure, FailureClass},
    hub::ModelFiles,
};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

/// What the names of a model's tensors may start with.
const PREFIXES: [&str; 6] = ["", "bert.", "roberta.", "mpnet.", "model.", "0.auto_model."];

/// Turns the tensors of a model into layers.
pub struct Loader<'a> {
    config: &'a EncoderConfig,
    weights: Weights,
    prefix: &'static str,
    compute: DType,
    device: Device,
    on_host: bool,
    label: &'a str,
}

impl<'a> Loader<'a> {
    /// Opens the weights and the device.
    ///
    /// # Errors
    /// One sentence (class `permanent`) when they can not be used; `oom` when
    /// the machine has no room for them.
    pub fn new(
        files: &'a ModelFiles,
        config: &'a EncoderConfig,
        options: &LoadOptions,
    ) -> Result<Self, Failure> {
        let label = &files.label;
        let weights = Weights::open(label, &files.weights)?;
        let table = match config.family {
            Family::ModernBert => "embeddings.tok_embeddings.weight",
            _ => "embeddings.word_embeddings.weight",
        };
        let prefix = PREFIXES
            .into_iter()
            .find(|prefix| weights.has(&format!("{prefix}{table}")))
            .ok_or_else(|| permanent(format!("the weights of {label} lack the tensor {table}")))?;
        let device = options.device.open()?;
        // An encoder is small and its vectors are compared closely: 32 bits,
        // unless a GPU is asked for less.
        let compute = match options.dtype {
            _ if device.is_cpu() => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::Bf16 => DType::BF16,
            _ => DType::F32,
        };
        if device.is_cpu()
            && let (Some(needed), Some(free)) = (files.weights.bytes(), available_bytes(&device))
            && needed > free
        {
            return Err(Failure::new(
                FailureClass::Oom,
                format!(
                    "out of memory: {label} needs {} MiB, and {} MiB are free",
                    needed >> 20,
                    free >> 20
                ),
            ));
        }
        Ok(Self {
            config,
            weights,
            prefix,
            compute,
            on_host: device.is_cpu() && !options.tensor_attention,
            device,
            label,
        })
    }

    /// The layers.
    ///
    /// # Errors
    /// One sentence (class `permanent`) with the tensor's name when one is
    /// missing or has a wrong shape; the device's failure when it has no room.
    pub fn transformer(&self) -> Result<Transformer, Failure> {
        let config = self.config;
        let layers = (0..config.layers.len())
            .into_par_iter()
            .map(|index| match config.family {
                Family::ModernBert => self.modern_layer(index),
                _ => self.layer(index),
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let final_norm = match config.family {
            Family::ModernBert => Some(self.norm("final_norm")?),
            _ => None,
        };
        #[cfg(feature = "cuda")]
        super::super::device::settle(&self.device)
            .map_err(|error| classify::at_load(self.label, &error))?;
        Ok(Transformer {
            embeddings: self.embeddings()?,
            layers,
            final_norm,
            ropes: self.ropes()?,
            distances: self.distances()?,
            instructions: Instructions::best(),
            config: config.clone(),
            device: self.device.clone(),
            compute: self.compute,
            on_host: self.on_host,
        })
    }

    /// The classification head.
    ///
    /// # Errors
    /// As [`Loader::transformer`].
    pub fn head(&self) -> Result<Head, Failure> {
        let config = self.config;
        let hidden = config.hidden;
        let dense =
            |name: &str, bias: bool| self.projection_of(&[(name.to_owned(), hidden)], hidden, bias);
        let (kind, last) = match config.family {
            Family::Bert => {
                let pooler = format!("{}pooler.dense", self.prefix);
                (HeadKind::Tanh(dense(&pooler, true)?), "classifier")
            }
            Family::Roberta | Family::Mpnet => (
                HeadKind::Tanh(dense("classifier.dense", true)?),
                "classifier.out_proj",
            ),
            Family::ModernBert => (
                HeadKind::ActNorm {
                    dense: dense("head.dense", config.head_bias)?,
                    activation: config.head_activation,
                    norm: self.norm_of("head.norm")?,
                },
                "classifier",
            ),
        };
        let outputs = config.labels.len();
        if outputs == 0 {
            return Err(permanent(format!(
                "the config.json of {} names no labels, so it is no cross-encoder",
                self.label
            )));
        }
        Ok(Head {
            kind,
            last: self.projection_of(&[(last.to_owned(), outputs)], hidden, true)?,
            input: match config.family {
                Family::ModernBert => config.head_input,
                _ => HeadInput::First,
            },
        })
    }

    fn embeddings(&self) -> Result<Embeddings, Failure> {
        let config = self.config;
        let table = |name: &str, rows: usize| {
            self.tensor(
                &format!("{}embeddings.{name}.weight", self.prefix),
                &[rows, config.hidden],
            )
        };
        let (words, norm) = match config.family {
            Family::ModernBert => ("tok_embeddings", "embeddings.norm"),
            _ => ("word_embeddings", "embeddings.LayerNorm"),
        };
        Ok(Embeddings {
            words: table(words, config.vocab)?,
            positions: match config.positions {
                Positions::Table { rows, .. } => Some(table("position_embeddings", rows)?),
                Positions::Rotary { .. } => None,
            },
            segments: match config.segments {
                0 => None,
                rows => Some(table("token_type_embeddings", rows)?),
            },
            norm: self.norm(norm)?,
        })
    }

    fn ropes(&self) -> Result<Vec<RopeTable>, Failure> {
        let Positions::Rotary { global, local } = self.config.positions else {
            return Ok(Vec::new());
        };
        [global, local]
            .into_iter()
            .map(|theta| {
                RopeTable::new(&RopeConfig {
                    dim: self.config.head_dim(),
                    theta,
                    scaling: RopeScaling::None,
                })
                .map_err(permanent)
            })
            .collect()
    }

    fn distances(&self) -> Result<Option<Distances>, Failure> {
        let Some(buckets) = self.config.buckets else {
            return Ok(None);
        };
        let name = format!("{}encoder.relative_attention_bias.weight", self.prefix);
        let heads = self.config.heads;
        let table = self
            .weights
            .tensor(&name, &[buckets.count, heads])?
            .to_dtype(DType::F32)
            .and_then(|table| table.flatten_all()?.to_vec1::<f32>())
            .map_err(|error| self.failure(&name, &error))?;
        Ok(Some(Distances::new(
            &table,
            heads,
            buckets.far,
            self.config.max_tokens,
        )))
    }

    fn layer(&self, index: usize) -> Result<EncoderLayer, Failure> {
        let config = self.config;
        let (hidden, intermediate) = (config.hidden, config.intermediate);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let (qkv, output, middle) = match config.family {
            Family::Mpnet => (
                ["attention.attn.q", "attention.attn.k", "attention.attn.v"],
                "attention.attn.o",
                "attention.LayerNorm",
            ),
            _ => (
                [
                    "attention.self.query",
                    "attention.self.key",
                    "attention.self.value",
                ],
                "attention.output.dense",
                "attention.output.LayerNorm",
            ),
        };
        let qkv = qkv.map(|part| (name(part), hidden));
        Ok(EncoderLayer {
            attention_norm: None,
            qkv: self.projection(&qkv, hidden, true)?,
            output: self.projection(&[(name(output), hidden)], hidden, true)?,
            middle_norm: self.norm(&name(middle))?,
            up: self.projection(&[(name("intermediate.dense"), intermediate)], hidden, true)?,
            down: self.projection(&[(name("output.dense"), hidden)], intermediate, true)?,
            last_norm: Some(self.norm(&name("output.LayerNorm"))?),
            reach: None,
            rope: None,
        })
    }

    fn modern_layer(&self, index: usize) -> Result<EncoderLayer, Failure> {
        let config = self.config;
        let (hidden, intermediate) = (config.hidden, config.intermediate);
        let name = |part: &str| format!("layers.{index}.{part}");
        let (attention, mlp) = (config.attention_bias, config.mlp_bias);
        let reach = config.layers[index];
        Ok(EncoderLayer {
            // The first layer's input is normed already.
            attention_norm: match index {
                0 => None,
                _ => Some(self.norm(&name("attn_norm"))?),
            },
            qkv: self.projection(&[(name("attn.Wqkv"), 3 * hidden)], hidden, attention)?,
            output: self.projection(&[(name("attn.Wo"), hidden)], hidden, attention)?,
            middle_norm: self.norm(&name("mlp_norm"))?,
            up: self.projection(&[(name("mlp.Wi"), 2 * intermediate)], hidden, mlp)?,
            down: self.projection(&[(name("mlp.Wo"), hidden)], intermediate, mlp)?,
            last_norm: None,
            reach,
            rope: Some(usize::from(reach.is_some())),
        })
    }

    /// A linear layer of the encoder, of one or more tensors, one below the
    /// other.
    fn projection(
        &self,
        parts: &[(String, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Projection, Failure> {
        let parts: Vec<(String, usize)> = parts
            .iter()
            .map(|(name, rows)| (format!("{}{name}", self.prefix), *rows))
            .collect();
        self.projection_of(&parts, inputs, bias)
    }

    fn projection_of(
        &self,
        parts: &[(String, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Projection, Failure> {
        let named = |end: &str| {
            parts
                .iter()
                .map(|(name, rows)| (format!("{name}.{end}"), *rows))
                .collect::<Vec<_>>()
        };
        let label = parts.first().map_or("", |(name, _)| name.as_str());
        let weights = self.weights.rows(&named("weight"), inputs)?;
        let bias = match bias {
            true => Some(
                self.weights
                    .stacked(&named("bias"), &[])
                    .and_then(|bias| self.to_device(label, &bias))?,
            ),
            false => None,
        };
        let linear = Linear::of_rows(
            weights,
            None,
            Precision::Float(self.compute),
            &Place::plain(self.device.clone()),
        )
        .map_err(|error| self.failure(label, &error))?;
        Ok(Projection { linear, bias })
    }

    fn norm(&self, name: &str) -> Result<Norm, Failure> {
        self.norm_of(&format!("{}{name}", self.prefix))
    }

    fn norm_of(&self, name: &str) -> Result<Norm, Failure> {
        let hidden = self.config.hidden;
        // The first BERTs have the names of TensorFlow.
        let (weight, bias) = match self.weights.has(&format!("{name}.gamma")) {
            true => ("gamma", "beta"),
            false => ("weight", "bias"),
        };
        let weight = self.tensor(&format!("{name}.{weight}"), &[hidden])?;
        let bias = if self.config.norm_bias {
            self.tensor(&format!("{name}.{bias}"), &[hidden])?
        } else {
            Tensor::zeros(hidden, self.compute, &self.device)
                .map_err(|error| self.failure(name, &error))?
        };
        Ok(Norm { weight, bias })
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, Failure> {
        let tensor = self.weights.tensor(name, shape)?;
        self.to_device(name, &tensor)
    }

    fn to_device(&self, name: &str, tensor: &Tensor) -> Result<Tensor, Failure> {
        tensor
            .to_dtype(self.compute)
            .and_then(|tensor| tensor.to_device(&self.device))
            .map_err(|error| self.failure(name, &error))
    }

    fn failure(&self, name: &str, error: &candle_core::Error) -> Failure {
        classify::at_load(name, error)
    }
}

fn permanent(message: String) -> Failure {
    Failure::new(FailureClass::Permanent, message)
}
