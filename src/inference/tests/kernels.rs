use super::super::{
    attention,
    blocks::Blocks,
    half_matrix::HalfMatrix,
    instructions::Instructions,
    lanes,
    matrix::PackedMatrix,
    pack::Pack,
    quantized::{BlockKind, BlockMatrix},
};
use attention::{Heads, HostCache, LayerAttention, Slots};
use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor},
};
use half::f16;
use proptest::prelude::*;

/// Reproducible values around zero.
fn noise(count: usize, salt: u32) -> Vec<f32> {
    let mut state = salt.wrapping_mul(2_654_435_761) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

#[test]
fn the_packed_product_is_the_plain_one() {
    let shapes = [
        (1, 1, 1),
        (3, 7, 33),
        (13, 64, 96),
        (30, 1100, 50),
        (25, 32, 31),
    ];
    let all = Instructions::available();
    for (instructions, (rows, inputs, outputs)) in
        all.into_iter().flat_map(|i| shapes.map(|shape| (i, shape)))
    {
        let weights = noise(outputs * inputs, 1);
        let x = noise(rows * inputs, 2);
        let matrix = PackedMatrix::new(outputs, inputs, &weights).using(instructions);
        let y = matrix.multiply(&x);
        for row in 0..rows {
            for output in 0..outputs {
                let want: f64 = (0..inputs)
                    .map(|k| {
                        f64::from(x[row * inputs + k]) * f64::from(weights[output * inputs + k])
                    })
                    .sum();
                let got = f64::from(y[row * outputs + output]);
                assert!(
                    (got - want).abs() < 1e-3,
                    "{instructions:?}: {got} for {want}"
                );
            }
        }
    }
}

#[test]
fn a_row_s_product_does_not_depend_on_the_other_rows() {
    let (inputs, outputs, rows) = (1500, 100, 29);
    let x = noise(rows * inputs, 4);
    for instructions in Instructions::available() {
        let weights = noise(outputs * inputs, 3);
        let matrix = PackedMatrix::new(outputs, inputs, &weights).using(instructions);
        let all = matrix.multiply(&x);
        for row in 0..rows {
            let alone = matrix.multiply(&x[row * inputs..(row + 1) * inputs]);
            assert_eq!(alone, all[row * outputs..(row + 1) * outputs]);
        }
    }
}

#[test]
fn a_row_can_be_read_back_from_a_packed_matrix() {
    let weights = noise(70 * 9, 5);
    let matrix = PackedMatrix::new(70, 9, &weights);
    for row in [0, 31, 32, 69] {
        let mut copy = vec![0.0; 9];
        matrix.copy_row(row, &mut copy);
        assert_eq!(copy, weights[row * 9..(row + 1) * 9]);
    }
}

#[test]
fn the_fast_exponential_is_close_and_has_the_right_ends() {
    for step in -8700..8800 {
        let x = step as f32 / 100.0;
        let (got, want) = (f64::from(lanes::exp(x)), f64::from(x).exp());
        assert!((got / want - 1.0).abs() < 4e-7, "exp({x})");
    }
    assert_eq!(lanes::exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(lanes::exp(-200.0), 0.0);
    assert!(lanes::exp(f32::NAN).is_nan());
}

/// Attention of one sequence by the book, in f64.
fn by_the_book(qkv: &[f32], length: usize, heads: Heads, what: &LayerAttention<'_>) -> Vec<f64> {
    let Heads { queries, keys, dim } = heads;
    let width = (queries + 2 * keys) * dim;
    let at = |row: usize, head: usize, d: usize| f64::from(qkv[row * width + head * dim + d]);
    let mut out = Vec::new();
    for row in 0..length {
        for head in 0..queries {
            let key_head = queries + head / (queries / keys);
            let first = what.window.map_or(0, |w| (row + 1).saturating_sub(w));
            let scores: Vec<f64> = (first..=row)
                .map(|j| {
                    let dot: f64 = (0..dim)
                        .map(|d| at(row, head, d) * at(j, key_head, d))
                        .sum();
                    let score = dot * f64::from(what.scale);
                    match what.softcap {
                        Some(cap) => f64::from(cap) * (score / f64::from(cap)).tanh(),
                        None => score,
                    }
                })
                .collect();
            let highest = scores.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = scores.iter().map(|s| (s - highest).exp()).sum();
            for d in 0..dim {
                let mixed: f64 = scores
                    .iter()
                    .zip(first..)
                    .map(|(s, j)| (s - highest).exp() / total * at(j, key_head + keys, d))
                    .sum();
                out.push(mixed);
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Lengths, pieces, windows and head widths of all kinds.
    #[test]
    fn attention_is_by_the_book_in_any_pieces(
        length in 1_usize..70,
        piece in 1_usize..40,
        dim in prop::sample::select(vec![2_usize, 8, 12, 16, 24, 32]),
        (queries, keys) in prop::sample::select(vec![(1_usize, 1_usize), (4, 2), (7, 1), (3, 3)]),
        window in prop::option::of(1_usize..30),
        softcap in prop::option::of(1.0_f32..9.0),
        salt in 0_u32..1000,
    ) {
        let heads = Heads { queries, keys, dim };
        let what = LayerAttention {
            layer: 0,
            qk_norm: None,
            eps: 1e-6,
            rope: None,
            scale: 0.7,
            softcap,
            window,
        };
        let width = (queries + 2 * keys) * dim;
        let qkv = noise(length * width, salt);
        let spoiled = vec![f32::NAN; qkv.len()];
        let whole = |mut cache: Box<dyn HostCache>, pieces: usize| {
            // What a finished sequence leaves behind is taken again.
            cache.begin(&[3, length]);
            let mut pack = Pack::default();
            pack.push(1, 0, length, &vec![0; length]);
            cache.attend(&spoiled, &pack, &what);
            cache.begin(&[3, length]);
            let mut out = Vec::new();
            for start in (0..length).step_by(pieces) {
                let end = length.min(start + pieces);
                let mut pack = Pack::default();
                pack.push(1, start, length, &vec![0; end - start]);
                out.extend(cache.attend(&qkv[start * width..end * width], &pack, &what));
            }
            out
        };
        // What is kept in half precision is as exact as rounded keys and
        // values.
        let mut rounded = qkv.clone();
        for row in rounded.chunks_mut(width) {
            for value in &mut row[queries * dim..] {
                *value = f16::from_f32(*value).to_f32();
            }
        }
        for instructions in Instructions::available() {
            let full = || Box::new(Slots::<f32>::new(heads, 1).using(instructions));
            let half = || Box::new(Slots::<f16>::new(heads, 1).using(instructions));
            for (at_once, in_pieces, qkv) in [
                (whole(full(), length), whole(full(), piece), &qkv),
                (whole(half(), length), whole(half(), piece), &rounded),
            ] {
                prop_assert_eq!(&at_once, &in_pieces);
                let book = by_the_book(qkv, length, heads, &what);
                for (got, want) in at_once.iter().zip(&book) {
                    prop_assert!((f64::from(*got) - want).abs() < 1e-4, "{} for {}", got, want);
                }
            }
        }
    }
}

#[test]
fn a_product_with_bf16_is_the_plain_one_of_rounded_values() {
    if !HalfMatrix::is_possible() {
        eprintln!("skipped: this processor does not multiply bf16");
        return;
    }
    let round = |value: &f32| f64::from(bf16(*value));
    for (rows, inputs, outputs) in [(1, 1, 1), (3, 7, 33), (13, 64, 96), (200, 1101, 50)] {
        let weights = noise(outputs * inputs, 1);
        let x = noise(rows * inputs, 2);
        let bias = noise(outputs, 3);
        let matrix = HalfMatrix::new(outputs, inputs, &weights);
        let y = matrix.multiply(&x, Some(&bias));
        for row in 0..rows {
            let x = &x[row * inputs..(row + 1) * inputs];
            for output in 0..outputs {
                let weights = &weights[output * inputs..(output + 1) * inputs];
                let pairs = x.iter().zip(weights);
                let want: f64 =
                    pairs.map(|(a, b)| round(a) * round(b)).sum::<f64>() + f64::from(bias[output]);
                let got = f64::from(y[row * outputs + output]);
                assert!((got - want).abs() < 1e-3, "{got} for {want}");
            }
            let alone = matrix.multiply(x, Some(&bias));
            assert_eq!(alone, y[row * outputs..(row + 1) * outputs]);
        }
    }
    let mut x = noise(2 * 64, 4);
    x[70] = f32::NAN;
    let y = HalfMatrix::new(8, 64, &noise(8 * 64, 5)).multiply(&x, None);
    assert!(y[..8].iter().all(|value| value.is_finite()));
    assert!(y[8..].iter().all(|value| value.is_nan()));
}

/// The nearest bf16, ties to even.
fn bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

const BLOCK_KINDS: [GgmlDType; 5] = [
    GgmlDType::Q8_0,
    GgmlDType::Q4_0,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

/// Weights of a kind as ggml rounds them, and what they stand for.
fn block_weights(
    kind: GgmlDType,
    outputs: usize,
    inputs: usize,
    salt: u32,
) -> (BlockMatrix, Vec<f32>) {
    let weights = Tensor::from_vec(
        noise(outputs * inputs, salt),
        (outputs, inputs),
        &Device::Cpu,
    )
    .unwrap();
    let quantized = QTensor::quantize(&weights, kind).unwrap();
    let meant = quantized.dequantize(&Device::Cpu).unwrap();
    let meant = meant.flatten_all().unwrap().to_vec1().unwrap();
    let blocks = Blocks::new(kind, inputs, quantized.data().unwrap());
    let ours = BlockKind::of(kind).unwrap();
    (BlockMatrix::of_blocks(ours, &blocks), meant)
}

#[test]
fn a_product_with_blocks_is_the_plain_one_of_rounded_activations() {
    for (kind, (rows, inputs, outputs)) in BLOCK_KINDS
        .into_iter()
        .flat_map(|kind| [(1, 256, 1), (4, 768, 33), (13, 512, 96)].map(|shape| (kind, shape)))
    {
        let x = noise(rows * inputs, 2);
        let bias = noise(outputs, 3);
        let (mut matrix, weights) = block_weights(kind, outputs, inputs, 1);
        // By the book: 32 activations share a scale.
        let rounded: Vec<f64> = x
            .chunks(32)
            .flat_map(|block| {
                let scale = block.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / 127.0;
                block
                    .iter()
                    .map(move |v| f64::from((v / scale).round_ties_even()) * f64::from(scale))
            })
            .collect();
        let mut all = Vec::new();
        for instructions in Instructions::available() {
            matrix = matrix.using(instructions);
            all.push(matrix.multiply(&x, Some(&bias)));
        }
        for (index, got) in all[0].iter().enumerate() {
            let (row, output) = (index / outputs, index % outputs);
            let want: f64 = (0..inputs)
                .map(|k| rounded[row * inputs + k] * f64::from(weights[output * inputs + k]))
                .sum::<f64>()
                + f64::from(bias[output]);
            assert!(
                (f64::from(*got) - want).abs() < 2e-3,
                "{kind:?} {rows}x{inputs}x{outputs}: {got} for {want}"
            );
        }
        for other in &all {
            assert_eq!(*other, all[0], "{kind:?} is the same on every processor");
        }
    }
}

#[test]
fn a_row_s_product_with_blocks_does_not_depend_on_the_other_rows() {
    let (inputs, outputs, rows) = (1280, 100, 29);
    let x = noise(rows * inputs, 4);
    for kind in BLOCK_KINDS {
        let (matrix, _) = block_weights(kind, outputs, inputs, 3);
        let all = matrix.multiply(&x, None);
        for row in 0..rows {
            let alone = matrix.multiply(&x[row * inputs..(row + 1) * inputs], None);
            assert_eq!(alone, all[row * outputs..(row + 1) * outputs], "{kind:?}");
        }
    }
}

#[test]
fn inputs_that_are_no_whole_block_are_filled_up() {
    let (inputs, outputs) = (250, 40);
    let weights = noise(outputs * inputs, 5);
    let x = noise(3 * inputs, 6);
    let exact = PackedMatrix::new(outputs, inputs, &weights).multiply(&x);
    let weights = Tensor::from_vec(weights, (outputs, inputs), &Device::Cpu).unwrap();
    for (kind, tolerance) in [(BlockKind::Q8_0, 0.2), (BlockKind::Q4K, 2.0)] {
        let matrix = BlockMatrix::quantize(kind, &weights).unwrap();
        for (got, want) in matrix.multiply(&x, None).iter().zip(&exact) {
            assert!((got - want).abs() < tolerance, "{kind:?}: {got} for {want}");
        }
    }
}

#[test]
fn what_is_not_finite_stays_so_in_its_row_alone() {
    for kind in BLOCK_KINDS {
        let (mut matrix, _) = block_weights(kind, 48, 512, 7);
        for instructions in Instructions::available() {
            matrix = matrix.using(instructions);
            let mut x = noise(3 * 512, 8);
            let plain = matrix.multiply(&x, None);
            for bad in [f32::NAN, f32::INFINITY] {
                x[512 + 77] = bad;
                let y = matrix.multiply(&x, None);
                assert_eq!(y[..48], plain[..48]);
                assert!(y[48..96].iter().all(|value| !value.is_finite()), "{kind:?}");
                assert_eq!(y[96..], plain[96..]);
            }
        }
    }
}

#[test]
fn blocks_take_what_their_format_says() {
    let bits = |kind| {
        let (matrix, _) = block_weights(kind, 64, 1024, 9);
        matrix.bytes() as f64 * 8.0 / (64.0 * 1024.0)
    };
    let found = BLOCK_KINDS.map(bits);
    assert_eq!(found, [8.5, 4.5, 4.625, 5.625, 6.5625]);
}
