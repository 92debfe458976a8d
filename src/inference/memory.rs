use super::{
    LoadOptions,
    config::ModelConfig,
    device::{self, Device},
    gguf::GgufFile,
    linear::Precision,
};
use crate::{
    domain::{Failure, GenerationSettings, Quantization},
    hub::{ModelFiles, WeightFiles},
};
use candle_core::DType;

/// Bytes that a model and one batch need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Weights as they are kept in memory.
    pub weights: u64,
    /// Keys and values of the batch.
    pub cache: u64,
    /// The largest intermediate results.
    pub activations: u64,
}

impl MemoryEstimate {
    /// All of it.
    pub const fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.cache)
            .saturating_add(self.activations)
    }
}

/// Estimates what a model needs for batches of `batch` sequences of `tokens`
/// tokens each, prompt and answer together. `weights_bytes` is the size of its
/// files.
pub fn memory_estimate(
    config: &ModelConfig,
    options: &LoadOptions,
    weights_bytes: u64,
    batch: usize,
    tokens: usize,
) -> MemoryEstimate {
    let on_cpu = on_cpu(options);
    let table = (config.vocab * config.hidden) as u64;
    let per_layer = config.qkv_rows() * config.hidden
        + config.heads * config.head_dim * config.hidden
        + 3 * config.intermediate * config.hidden;
    let linear = (per_layer * config.layers.len()) as u64 + table;
    // A scale of 16 bits for 32 weights; of 4 bits a weight it is 4.625 on the
    // processor, and more where a matrix is too narrow for blocks of 256.
    let bits = match options.quantization {
        Quantization::None => 0,
        Quantization::Int8 => 17 * linear / 2,
        Quantization::Int4 => 5 * linear,
    };
    let weights = match options.quantization {
        // Experts and the like: the files tell, which hold 16 bits as a rule.
        _ if config.is_borrowed() => {
            weights_bytes * if on_cpu || config.is_in_full() { 2 } else { 1 }
        }
        // The files hold 16 bits as a rule; the processor computes in 32.
        Quantization::None if on_cpu => {
            let each = match Precision::of_cpu(options.dtype) {
                Precision::Float(dtype) => dtype.size_in_bytes() as u64,
                _ => 4,
            };
            each * linear
        }
        Quantization::None => weights_bytes,
        _ => bits / 8 + 2 * table,
    };
    let value = if on_cpu { 4 } else { 2 };
    let kept = kept_bytes(options, on_cpu, false);
    let rows = options
        .prefill_tokens(on_cpu)
        .min(batch.saturating_mul(tokens))
        .max(batch);
    let widest = config.qkv_rows().max(3 * config.intermediate) + 4 * config.hidden;
    MemoryEstimate {
        weights,
        cache: cache_bytes(config, kept, batch, tokens),
        activations: (rows.saturating_mul(widest * value) as u64)
            .saturating_add((batch as u64).saturating_mul(4 * config.vocab as u64)),
    }
}

/// Bytes of one key or value: on the processor they have the precision of the
/// weights, which `quantised_file` says of a GGUF file's.
fn kept_bytes(options: &LoadOptions, on_cpu: bool, quantised_file: bool) -> usize {
    let in_full = options.quantization == Quantization::None
        && !quantised_file
        && Precision::of_cpu(options.dtype) == Precision::Float(DType::F32);
    if on_cpu && in_full { 4 } else { 2 }
}

fn cache_bytes(config: &ModelConfig, kept: usize, batch: usize, tokens: usize) -> u64 {
    (config.kv_bytes_per_token(kept) as u64).saturating_mul(batch.saturating_mul(tokens) as u64)
}

/// What a model would need on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// What kind of model it is.
    pub config: ModelConfig,
    /// What it needs with the batch that was asked for.
    pub memory: MemoryEstimate,
    /// Bytes that the device can give now; `None` when it does not tell.
    pub available: Option<u64>,
    /// The batch that would fit beside the weights, for prompts and answers of
    /// the length that was asked for.
    pub batch_size: usize,
}

/// What a model would need for batches of `batch` sequences of `tokens`
/// tokens. Reads the configuration, not the weights.
///
/// # Errors
/// One sentence (class `permanent`) that names the file or key that is wrong.
pub fn estimate(
    files: &ModelFiles,
    options: &LoadOptions,
    batch: usize,
    tokens: usize,
) -> Result<Forecast, Failure> {
    let on_cpu = on_cpu(options);
    let config = ModelConfig::of_files(files)?;
    let file_bytes = files.weights.bytes().unwrap_or(0);
    let mut memory = memory_estimate(&config, options, file_bytes, batch, tokens);
    let mut kept = kept_bytes(options, on_cpu, false);
    if let WeightFiles::Gguf(path) = &files.weights {
        let file = GgufFile::open(&files.label, path)?;
        kept = kept_bytes(options, on_cpu, file.is_quantised()?);
        memory.weights = file.bytes_in_memory(on_cpu)?;
        memory.cache = cache_bytes(&config, kept, batch, tokens);
    }
    let available = device::available_bytes(&options.device.open()?);
    let settings = GenerationSettings {
        max_new_tokens: 0,
        ..GenerationSettings::default()
    };
    let batch_size = batch_size(
        &config,
        kept,
        available.unwrap_or(1 << 30).saturating_sub(memory.weights),
        &[tokens],
        &settings,
        most_rows(on_cpu),
    );
    Ok(Forecast {
        config,
        memory,
        available,
        batch_size,
    })
}

/// More rows no longer make the device faster.
pub(super) const fn most_rows(on_cpu: bool) -> usize {
    if on_cpu { 64 } else { 256 }
}

fn on_cpu(options: &LoadOptions) -> bool {
    matches!(options.device, Device::Cpu)
        || (options.device == Device::Auto && !cfg!(feature = "cuda"))
}

/// The batch size that fits: all sequences as long as the longest prompt and
/// its answer, in four fifths of the free memory.
pub(super) fn batch_size(
    config: &ModelConfig,
    bytes_per_value: usize,
    available: u64,
    prompt_lengths: &[usize],
    settings: &GenerationSettings,
    most: usize,
) -> usize {
    let longest = prompt_lengths.iter().copied().max().unwrap_or(0);
    let tokens = longest
        .saturating_add(settings.max_new_tokens)
        .min(config.max_positions);
    let each = config
        .kv_bytes_per_token(bytes_per_value)
        .saturating_mul(tokens)
        .saturating_add(config.vocab * 8);
    let fitting = usize::try_from(available / 5 * 4).unwrap_or(usize::MAX) / each.max(1);
    fitting.clamp(1, most)
}

/// Free memory of the machine, or of the control group if that is less: the
/// texts are `/proc/meminfo` and the group's `memory.max` and
/// `memory.current`.
pub fn available_host_bytes(
    meminfo: &str,
    group_limit: Option<&str>,
    group_used: Option<&str>,
) -> Option<u64> {
    let machine = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        * 1024;
    let number = |text: Option<&str>| text?.trim().parse::<u64>().ok();
    let group = match (number(group_limit), number(group_used)) {
        (Some(limit), Some(used)) => limit.saturating_sub(used),
        _ => u64::MAX,
    };
    Some(machine.min(group))
}
