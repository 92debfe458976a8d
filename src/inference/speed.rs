use super::{
    instructions::Instructions,
    matrix::PackedMatrix,
    quantized::{BlockKind, BlockMatrix},
};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// How fast this machine's processor is at what inference needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Bytes read from memory per second, by all threads.
    pub bandwidth: f64,
    /// Floating-point operations per second of our f32 matrix product.
    pub gemm: f64,
    /// The same of our product with weights of 8 bits.
    pub blocks: f64,
}

/// Measures for about `each` per figure. The best of several rounds counts:
/// whatever else runs can only make a round slower.
pub fn measure_speed(each: Duration) -> Speed {
    Speed {
        bandwidth: bandwidth(each),
        gemm: gemm(each),
        blocks: blocks(each),
    }
}

/// The instruction sets that our kernels use on this processor, the best
/// first.
pub fn instruction_sets() -> Vec<&'static str> {
    Instructions::available()
        .into_iter()
        .map(|instructions| match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vnni => "avx512+vnni",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "avx2+fma",
            Instructions::Portable => "portable",
        })
        .collect()
}

/// Threads that share the work.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

fn bandwidth(each: Duration) -> f64 {
    // Far beyond any cache.
    let words = vec![1_u64; 32 << 20];
    let part = words.len() / threads().max(1);
    best(each, (words.len() * 8) as f64, || {
        let sum: u64 = words
            .par_chunks(part.max(1))
            .map(|words| {
                words
                    .iter()
                    .fold(0_u64, |sum, word| sum.wrapping_add(*word))
            })
            .sum();
        std::hint::black_box(sum);
    })
}

fn gemm(each: Duration) -> f64 {
    let (rows, inputs, outputs) = (192, 1024, 1024);
    let matrix = PackedMatrix::new(outputs, inputs, &vec![0.5; inputs * outputs]);
    let x = vec![0.25; rows * inputs];
    best(each, (2 * rows * inputs * outputs) as f64, || {
        std::hint::black_box(matrix.multiply(&x));
    })
}

fn blocks(each: Duration) -> f64 {
    let (rows, inputs, outputs) = (192, 1024, 1024);
    let weights = Tensor::ones((outputs, inputs), DType::F32, &Device::Cpu);
    let matrix = weights.and_then(|weights| BlockMatrix::quantize(BlockKind::Q8_0, &weights));
    let Ok(matrix) = matrix else { return 0.0 };
    let x = vec![0.25; rows * inputs];
    best(each, (2 * rows * inputs * outputs) as f64, || {
        std::hint::black_box(matrix.multiply(&x, None));
    })
}

/// The highest rate of `work` per second in rounds that take `each` together.
fn best(each: Duration, work: f64, round: impl Fn()) -> f64 {
    round();
    let start = Instant::now();
    let mut rate = 0.0_f64;
    while start.elapsed() < each {
        let round_start = Instant::now();
        round();
        rate = rate.max(work / round_start.elapsed().as_secs_f64().max(1e-9));
    }
    rate
}
