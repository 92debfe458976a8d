use super::super::{bounds::Size, config::Activation};
use crate::{
    domain::{Failure, FailureClass},
    hub::ModelFiles,
};
use serde_json::Value;

/// The architectures (`model_type`) of encoders.
pub const SUPPORTED_ENCODERS: [&str; 6] = [
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "modernbert",
];

/// Distances from which on MPNet's relative positions share a bucket.
const MPNET_FAR: usize = 128;

/// What decides the names of an encoder's tensors and the order of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// BERT: MiniLM, BGE, E5.
    Bert,
    /// RoBERTa and XLM-R: BERT's layers, positions counted from the padding.
    Roberta,
    /// MPNet: RoBERTa's positions, and biases by distance.
    Mpnet,
    /// ModernBERT: norms first, rotary positions, local layers, gated blocks.
    ModernBert,
}

/// Positions of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// A table of this many rows; a text's first token takes row `first`.
    Table {
        /// Rows.
        rows: usize,
        /// The row of the first token.
        first: usize,
    },
    /// Rotations: the base of layers that see everything, and of local ones.
    Rotary {
        /// Of layers that see everything.
        global: f64,
        /// Of local layers.
        local: f64,
    },
}

/// Biases on attention scores by distance (MPNet).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    /// Rows of the table.
    pub count: usize,
    /// Distances from which on there is one bucket.
    pub far: usize,
}

/// Which row of the last layer a classification head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadInput {
    /// The first token's.
    First,
    /// The mean of all.
    Mean,
}

/// An encoder, described by its `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// Names and order.
    pub family: Family,
    /// Tokens in the embedding table.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward block.
    pub intermediate: usize,
    /// Heads.
    pub heads: usize,
    /// For each layer, how far it sees to either side; `None` means
    /// everything.
    pub layers: Vec<Option<usize>>,
    /// Tokens in a text at most.
    pub max_tokens: usize,
    /// How a token knows its place.
    pub positions: Positions,
    /// Kinds of segments; 0 where there is no table of them.
    pub segments: usize,
    /// Biases by distance.
    pub buckets: Option<Buckets>,
    /// Epsilon of the norms.
    pub norm_eps: f64,
    /// Norms have a bias.
    pub norm_bias: bool,
    /// Attention's projections have a bias.
    pub attention_bias: bool,
    /// The feed-forward projections have a bias.
    pub mlp_bias: bool,
    /// The feed-forward non-linearity.
    pub activation: Activation,
    /// What a classification head reads.
    pub head_input: HeadInput,
    /// The classification head's own dense layer has a bias.
    pub head_bias: bool,
    /// The non-linearity of ModernBERT's head.
    pub head_activation: Activation,
    /// Names of a classification head's outputs, in their order.
    pub labels: Vec<String>,
}

impl EncoderConfig {
    /// The configuration in a model's files.
    ///
    /// # Errors
    /// One sentence (class `permanent`) that names the model and what is
    /// wrong.
    pub fn of_files(files: &ModelFiles) -> Result<Self, Failure> {
        let label = &files.label;
        let Some(source) = &files.config else {
            return Err(permanent(format!(
                "{label} has no config.json, so it is no encoder"
            )));
        };
        let value: Value = serde_json::from_slice(&source.read()?).map_err(|error| {
            permanent(format!("the config.json of {label} is no JSON: {error}"))
        })?;
        Self::parse(&value)
            .map_err(|message| permanent(format!("the config.json of {label}: {message}")))
    }

    /// Understands a `config.json`.
    ///
    /// # Errors
    /// What is wrong, as a clause.
    pub fn parse(value: &Value) -> Result<Self, String> {
        let kind = value
            .get("model_type")
            .and_then(Value::as_str)
            .unwrap_or("nothing");
        let family = match kind {
            "bert" => Family::Bert,
            "roberta" | "xlm-roberta" | "camembert" => Family::Roberta,
            "mpnet" => Family::Mpnet,
            "modernbert" => Family::ModernBert,
            other => {
                return Err(format!(
                    "the architecture {other} is not an encoder that is supported; supported are {}",
                    SUPPORTED_ENCODERS.join(", ")
                ));
            }
        };
        let fields = Fields(value);
        let hidden = fields.need("hidden_size", Size::Width)?;
        let heads = fields.need("num_attention_heads", Size::Heads)?;
        if hidden % heads != 0 {
            return Err(format!(
                "hidden_size {hidden} is no multiple of num_attention_heads {heads}"
            ));
        }
        if let Some(kind) = fields.text("position_embedding_type")
            && kind != "absolute"
        {
            return Err(format!("position_embedding_type {kind} is not supported"));
        }
        let count = fields.need("num_hidden_layers", Size::Layers)?;
        let rows = fields.need("max_position_embeddings", Size::Positions)?;
        let is_modern = family == Family::ModernBert;
        let first = match family {
            Family::Roberta => fields.number("pad_token_id").unwrap_or(1).saturating_add(1),
            // Its padding has this number whatever the configuration says.
            Family::Mpnet => 2,
            Family::Bert | Family::ModernBert => 0,
        };
        let max_tokens = rows.saturating_sub(first);
        if max_tokens < 2 {
            return Err(format!("max_position_embeddings {rows} leaves no room"));
        }
        let buckets = fields
            .number("relative_attention_num_buckets")
            .unwrap_or(32);
        // Each side has near and far ones.
        if family == Family::Mpnet && (buckets < 4 || !buckets.is_multiple_of(2)) {
            return Err(format!(
                "relative_attention_num_buckets {buckets} is not possible"
            ));
        }
        let activation_key = if is_modern {
            "hidden_activation"
        } else {
            "hidden_act"
        };
        let plain = |key: &str| !is_modern || fields.flag(key).unwrap_or(false);
        Ok(Self {
            family,
            vocab: fields.need("vocab_size", Size::Vocabulary)?,
            hidden,
            intermediate: fields.need("intermediate_size", Size::Inner)?,
            heads,
            layers: layers(&fields, count, is_modern),
            max_tokens,
            positions: if is_modern {
                Positions::Rotary {
                    global: fields.rope("full_attention", "global_rope_theta", 160_000.0),
                    local: fields.rope("sliding_attention", "local_rope_theta", 10_000.0),
                }
            } else {
                Positions::Table { rows, first }
            },
            segments: match family {
                Family::Bert => fields.number("type_vocab_size").unwrap_or(2),
                Family::Roberta => fields.number("type_vocab_size").unwrap_or(1),
                Family::Mpnet | Family::ModernBert => 0,
            },
            buckets: (family == Family::Mpnet).then_some(Buckets {
                count: buckets,
                far: MPNET_FAR,
            }),
            norm_eps: fields
                .float(if is_modern {
                    "norm_eps"
                } else {
                    "layer_norm_eps"
                })
                .unwrap_or(if is_modern { 1e-5 } else { 1e-12 }),
            norm_bias: plain("norm_bias"),
            attention_bias: plain("attention_bias"),
            mlp_bias: plain("mlp_bias"),
            activation: fields.activation(activation_key)?,
            head_input: match fields.text("classifier_pooling") {
                Some("mean") if is_modern => HeadInput::Mean,
                _ => HeadInput::First,
            },
            head_bias: plain("classifier_bias"),
            head_activation: fields.activation("classifier_activation")?,
            labels: labels(value)?,
        })
    }

    /// Width of a head.
    pub const fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }
}

/// How far each layer sees.
fn layers(fields: &Fields<'_>, count: usize, is_modern: bool) -> Vec<Option<usize>> {
    if !is_modern {
        return vec![None; count];
    }
    let reach = fields.number("local_attention").unwrap_or(128) / 2;
    let every = fields
        .number("global_attn_every_n_layers")
        .unwrap_or(3)
        .max(1);
    let kinds = fields.0.get("layer_types").and_then(Value::as_array);
    (0..count)
        .map(|layer| {
            let sees_all = match kinds.and_then(|kinds| kinds.get(layer)) {
                Some(kind) => kind.as_str() == Some("full_attention"),
                None => layer % every == 0,
            };
            (!sees_all).then_some(reach)
        })
        .collect()
}

/// The names of a head's outputs: `id2label`, or `LABEL_n` for `num_labels`.
fn labels(value: &Value) -> Result<Vec<String>, String> {
    let named = value.get("id2label").and_then(Value::as_object);
    if let Some(named) = named {
        let mut labels: Vec<(usize, String)> = named
            .iter()
            .filter_map(|(id, label)| Some((id.parse().ok()?, label.as_str()?.to_owned())))
            .collect();
        labels.sort();
        return Ok(labels.into_iter().map(|(_, label)| label).collect());
    }
    // What the configuration leaves out by convention.
    let count = Fields(value).number("num_labels").unwrap_or(2);
    Size::Labels
        .check(count)
        .map_err(|wrong| format!("num_labels is {wrong}"))?;
    Ok((0..count).map(|id| format!("LABEL_{id}")).collect())
}

struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn number(&self, key: &str) -> Option<usize> {
        let number = self.0.get(key)?.as_u64()?;
        usize::try_from(number).ok()
    }

    fn need(&self, key: &str, size: Size) -> Result<usize, String> {
        let number = self
            .number(key)
            .ok_or_else(|| format!("{key} is missing or no number above 0"))?;
        size.check(number)
            .map_err(|wrong| format!("{key} is {wrong}"))
    }

    fn float(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.0.get(key)?.as_bool()
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// The base of rotations: newer configurations have them by kind of layer.
    fn rope(&self, kind: &str, key: &str, usual: f64) -> f64 {
        self.0
            .get("rope_parameters")
            .and_then(|all| all.get(kind)?.get("rope_theta")?.as_f64())
            .or_else(|| self.float(key))
            .unwrap_or(usual)
    }

    fn activation(&self, key: &str) -> Result<Activation, String> {
        match self.text(key).unwrap_or("gelu") {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "silu" | "swish" => Ok(Activation::Silu),
            other => Err(format!("{key} {other} is not supported")),
        }
    }
}

fn permanent(message: String) -> Failure {
    Failure::new(FailureClass::Permanent, message)
}
