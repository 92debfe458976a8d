use super::pack::Pack;
use serde_json::Value;
use std::{f64::consts::PI, ops::Range};

/// How a rope table is computed.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Dimensions of a head that are rotated; even.
    pub dim: usize,
    /// The base of the frequencies.
    pub theta: f64,
    /// How the context was extended.
    pub scaling: RopeScaling,
}

/// How a context longer than the one trained on is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// A divisor per frequency, as GGUF files have it for Llama 3.
    Factors {
        /// `[dim / 2]`.
        factors: Vec<f64>,
    },
    /// Positions are divided.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3: low frequencies are divided, with a smooth passage.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original / low` are low frequencies.
        low: f64,
        /// Wavelengths below `original / high` are left alone.
        high: f64,
        /// The context that was trained on.
        original: f64,
    },
    /// YaRN.
    Yarn {
        /// The divisor.
        factor: f64,
        /// Rotations above which a frequency is left alone.
        beta_fast: f64,
        /// Rotations below which a frequency is divided.
        beta_slow: f64,
        /// The context that was trained on.
        original: f64,
        /// Multiplier of cos and sin.
        attention: f64,
        /// Round the ends of the ramp to whole dimensions.
        truncate: bool,
    },
    /// Phi-3: a divisor per frequency, others for long contexts.
    Long {
        /// Divisors within the original context.
        short: Vec<f64>,
        /// Divisors beyond it.
        long: Vec<f64>,
        /// The context that was trained on, in tokens.
        original: usize,
        /// Multiplier of cos and sin.
        attention: f64,
    },
}

impl RopeScaling {
    /// Understands `rope_scaling` or `rope_parameters`.
    ///
    /// # Errors
    /// One sentence for a kind that is not known or lacks a value.
    pub fn parse(
        value: Option<&Value>,
        original: Option<usize>,
        max_positions: usize,
    ) -> Result<Self, String> {
        let Some(value) = value else {
            return Ok(Self::None);
        };
        let kind = value
            .get("rope_type")
            .or_else(|| value.get("type"))
            .and_then(Value::as_str)
            .unwrap_or("default");
        let number = |key: &str| value.get(key).and_then(Value::as_f64);
        let need = |key: &str| {
            number(key).ok_or_else(|| format!("config.json: rope scaling {kind} lacks {key}"))
        };
        let trained = original.unwrap_or(max_positions) as f64;
        match kind {
            "default" => Ok(Self::None),
            "linear" => Ok(Self::Linear {
                factor: need("factor")?,
            }),
            "llama3" => Ok(Self::Llama3 {
                factor: need("factor")?,
                low: need("low_freq_factor")?,
                high: need("high_freq_factor")?,
                original: trained,
            }),
            "yarn" => {
                let factor = need("factor")?;
                let scale_of = |mscale: f64| {
                    if factor <= 1.0 {
                        1.0
                    } else {
                        0.1 * mscale * factor.ln() + 1.0
                    }
                };
                let attention = match (number("mscale"), number("mscale_all_dim")) {
                    (Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => {
                        scale_of(mscale) / scale_of(all)
                    }
                    _ => scale_of(1.0),
                };
                Ok(Self::Yarn {
                    factor,
                    beta_fast: number("beta_fast").unwrap_or(32.0),
                    beta_slow: number("beta_slow").unwrap_or(1.0),
                    original: trained,
                    attention: number("attention_factor").unwrap_or(attention),
                    truncate: value
                        .get("truncate")
                        .and_then(Value::as_bool)
                        .unwrap_or(true),
                })
            }
            "longrope" | "su" => {
                let list = |key: &str| {
                    value
                        .get(key)
                        .and_then(Value::as_array)
                        .map(|list| list.iter().filter_map(Value::as_f64).collect::<Vec<_>>())
                        .ok_or_else(|| format!("config.json: rope scaling {kind} lacks {key}"))
                };
                let factor = match original {
                    Some(original) => max_positions as f64 / original as f64,
                    None => number("factor").unwrap_or(1.0),
                };
                let attention = number("attention_factor").unwrap_or(if factor <= 1.0 {
                    1.0
                } else {
                    (1.0 + factor.ln() / trained.ln()).sqrt()
                });
                Ok(Self::Long {
                    short: list("short_factor")?,
                    long: list("long_factor")?,
                    original: trained as usize,
                    attention,
                })
            }
            other => Err(format!(
                "config.json: the rope scaling {other} is not supported"
            )),
        }
    }
}

/// Cosines and sines by position, grown as far as they are used.
pub struct RopeTable {
    within: Angles,
    /// Beyond this many tokens a sequence takes the other angles.
    beyond: Option<(usize, Angles)>,
}

impl RopeTable {
    /// The table of a configuration.
    ///
    /// # Errors
    /// One sentence when the factors do not fit the head.
    pub fn new(config: &RopeConfig) -> Result<Self, String> {
        match &config.scaling {
            RopeScaling::Long {
                short,
                long,
                original,
                attention,
            } => {
                let angles = |factors: &[f64]| {
                    Ok::<_, String>(Angles::new(divided(config, factors)?, *attention))
                };
                Ok(Self {
                    within: angles(short)?,
                    beyond: Some((*original, angles(long)?)),
                })
            }
            RopeScaling::Factors { factors } => Ok(Self {
                within: Angles::new(divided(config, factors)?, 1.0),
                beyond: None,
            }),
            _ => Ok(Self {
                within: scaled(config),
                beyond: None,
            }),
        }
    }

    /// Cosines and sines of the first positions, each `[positions, dim / 2]`,
    /// and behind them those of long sequences where these are others.
    #[cfg(feature = "cuda")]
    pub fn table(&mut self, positions: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        self.within.append(0..positions, &mut cos, &mut sin);
        if let Some((_, beyond)) = &mut self.beyond {
            beyond.append(0..positions, &mut cos, &mut sin);
        }
        (cos, sin)
    }

    /// The rows of [`RopeTable::table`] that a pack's rows take.
    #[cfg(feature = "cuda")]
    pub fn places(&self, pack: &Pack, positions: usize) -> Vec<u32> {
        let mut places = Vec::with_capacity(pack.rows());
        for span in &pack.spans {
            let start = match &self.beyond {
                Some((original, _)) if span.capacity > *original => positions,
                _ => 0,
            };
            places.extend((0..span.len).map(|row| (start + span.past + row) as u32));
        }
        places
    }

    /// Cosines and sines of a pack's rows, each `[rows, dim / 2]`.
    pub fn rows(&mut self, pack: &Pack) -> (Vec<f32>, Vec<f32>) {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for span in &pack.spans {
            let angles = match &mut self.beyond {
                Some((original, angles)) if span.capacity > *original => angles,
                _ => &mut self.within,
            };
            angles.append(span.past..span.past + span.len, &mut cos, &mut sin);
        }
        (cos, sin)
    }
}

/// The angles of one set of frequencies.
struct Angles {
    frequencies: Vec<f32>,
    attention: f32,
    /// `[positions, dim / 2]`.
    cos: Vec<f32>,
    /// `[positions, dim / 2]`.
    sin: Vec<f32>,
}

impl Angles {
    fn new(frequencies: Vec<f64>, attention: f64) -> Self {
        Self {
            frequencies: frequencies.into_iter().map(|f| f as f32).collect(),
            attention: attention as f32,
            cos: Vec::new(),
            sin: Vec::new(),
        }
    }

    fn append(&mut self, positions: Range<usize>, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        let half = self.frequencies.len();
        if half == 0 {
            return;
        }
        for position in self.cos.len() / half..positions.end {
            for frequency in &self.frequencies {
                // The reference multiplies in f32, so the table does too; the
                // cosine of that angle is then taken exactly.
                let angle = f64::from(position as f32 * frequency);
                self.cos.push(angle.cos() as f32 * self.attention);
                self.sin.push(angle.sin() as f32 * self.attention);
            }
        }
        let part = positions.start * half..positions.end * half;
        cos.extend_from_slice(&self.cos[part.clone()]);
        sin.extend_from_slice(&self.sin[part]);
    }
}

/// The frequencies before any scaling, in f64.
fn plain_frequencies(config: &RopeConfig) -> Vec<f64> {
    // The reference rounds each step to f32; at long positions that shows.
    (0..config.dim / 2)
        .map(|i| {
            let exponent = (2 * i) as f32 / config.dim as f32;
            let power = f64::from(config.theta as f32).powf(f64::from(exponent)) as f32;
            f64::from(1.0 / power)
        })
        .collect()
}

/// The frequencies, each divided by its factor.
fn divided(config: &RopeConfig, factors: &[f64]) -> Result<Vec<f64>, String> {
    let mut frequencies = plain_frequencies(config);
    if factors.len() != frequencies.len() {
        return Err(format!(
            "config.json: rope scaling has {} factors for {} frequencies",
            factors.len(),
            frequencies.len()
        ));
    }
    for (frequency, factor) in frequencies.iter_mut().zip(factors) {
        *frequency /= factor;
    }
    Ok(frequencies)
}

fn scaled(config: &RopeConfig) -> Angles {
    let mut frequencies = plain_frequencies(config);
    let mut attention = 1.0;
    match &config.scaling {
        RopeScaling::None | RopeScaling::Long { .. } | RopeScaling::Factors { .. } => {}
        RopeScaling::Linear { factor } => frequencies.iter_mut().for_each(|f| *f /= factor),
        RopeScaling::Llama3 {
            factor,
            low,
            high,
            original,
        } => {
            for frequency in &mut frequencies {
                let wavelength = 2.0 * PI / *frequency;
                if wavelength > original / low {
                    *frequency /= factor;
                } else if wavelength >= original / high {
                    let smooth = (original / wavelength - low) / (high - low);
                    *frequency = (1.0 - smooth) * *frequency / factor + smooth * *frequency;
                }
            }
        }
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original,
            attention: scale,
            truncate,
        } => {
            let dim = config.dim as f64;
            let dimension_of = |rotations: f64| {
                dim * (original / (rotations * 2.0 * PI)).ln() / (2.0 * config.theta.ln())
            };
            let (mut start, mut end) = (dimension_of(*beta_fast), dimension_of(*beta_slow));
            if *truncate {
                (start, end) = (start.floor(), end.ceil());
            }
            let start = start.max(0.0);
            let mut end = end.min(dim - 1.0);
            if start == end {
                end += 0.001;
            }
            for (i, frequency) in frequencies.iter_mut().enumerate() {
                let ramp = ((i as f64 - start) / (end - start)).clamp(0.0, 1.0);
                *frequency = *frequency / factor * ramp + *frequency * (1.0 - ramp);
            }
            attention = *scale;
        }
    }
    Angles::new(frequencies, attention)
}
