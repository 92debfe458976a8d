use super::{crew, host};
use crate::domain::GenerationSettings;
use candle_core::{D, DType, Result, Tensor};
use sha2::{Digest, Sha256};

/// How the next token is chosen from logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    seed: u64,
}

impl Sampler {
    /// The sampler of these settings; `None` when they are greedy.
    pub fn of(settings: &GenerationSettings) -> Option<Self> {
        (settings.temperature > 0.0).then(|| Self {
            temperature: settings.temperature,
            top_p: settings.top_p.unwrap_or(1.0),
            seed: settings.seed,
        })
    }

    /// The token that question `idx` draws as number `step` of its answer.
    /// Logits are finite and not empty.
    pub fn draw(&self, logits: &[f32], idx: usize, step: usize) -> u32 {
        let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let mut weights: Vec<(u32, f64)> = logits
            .iter()
            .enumerate()
            .map(|(id, logit)| {
                let weight = ((f64::from(*logit) - highest) / self.temperature).exp();
                (id as u32, weight)
            })
            .collect();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut mass = total;
        if self.top_p < 1.0 {
            // All tokens below this weight together weigh at most 1 - top_p,
            // so none of them is in the nucleus: fewer to sort.
            let least = (1.0 - self.top_p) * total / logits.len() as f64;
            weights.retain(|(_, weight)| *weight >= least);
            weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            mass = 0.0;
            let mut kept = 0;
            for (_, weight) in &weights {
                kept += 1;
                mass += weight;
                if mass >= self.top_p * total {
                    break;
                }
            }
            weights.truncate(kept);
        }
        let mut left = uniform(self.seed, idx, step) * mass;
        for (id, weight) in &weights {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        // Rounding may leave a crumb behind the last token.
        weights.last().map_or(0, |(id, _)| *id)
    }
}

/// A number in [0, 1) that depends on nothing but its arguments: 53 bits of a
/// SHA-256, so that neither the batch nor a restart changes an answer.
fn uniform(seed: u64, idx: usize, step: usize) -> f64 {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update((idx as u64).to_le_bytes());
    hasher.update((step as u64).to_le_bytes());
    let digest = hasher.finalize();
    let bits = digest
        .iter()
        .take(8)
        .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// The likeliest token of each row of logits `[rows, vocab]`; `None` where one
/// is not finite.
///
/// # Errors
/// When the device fails.
pub fn likeliest(said: &Tensor) -> Result<Vec<Option<u32>>> {
    let (rows, vocab) = said.dims2()?;
    if said.device().is_cpu() {
        let logits = said.to_dtype(DType::F32)?;
        return host::with_f32(&logits, |values| {
            let mut tokens = vec![None; rows];
            crew::each_part(&mut tokens, 1, |row, token| {
                token.fill(greedy(&values[row * vocab..(row + 1) * vocab]));
            });
            Ok(tokens)
        });
    }
    // One read-back for the whole batch: the token, and a sum that is not
    // finite when a logit is not. Tokens are exact as f32 up to 2^24.
    let logits = said.to_dtype(DType::F32)?;
    let tokens = logits.argmax(D::Minus1)?.to_dtype(DType::F32)?;
    let sums = logits.sum(D::Minus1)?;
    let both = Tensor::stack(&[tokens, sums], 1)?.to_vec2::<f32>()?;
    Ok(both
        .into_iter()
        .map(|row| match row.as_slice() {
            [token, sum] if sum.is_finite() => Some(*token as u32),
            _ => None,
        })
        .collect())
}

/// The highest logit's token (the first of equals); `None` when a logit is
/// not finite.
fn greedy(logits: &[f32]) -> Option<u32> {
    let mut best = 0;
    let mut finite = true;
    for (id, logit) in logits.iter().enumerate() {
        finite &= logit.is_finite();
        if *logit > logits[best] {
            best = id;
        }
    }
    (finite && !logits.is_empty()).then_some(best as u32)
}
