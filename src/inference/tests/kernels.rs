use super::super::{
    attention, instructions::Instructions, lanes, matrix::PackedMatrix, pack::Pack,
};
use attention::{Heads, HostCache, LayerAttention};
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
        let whole = |instructions: Instructions, pieces: usize| {
            let mut cache = HostCache::new(heads, 1).using(instructions);
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
        let book = by_the_book(&qkv, length, heads, &what);
        for instructions in Instructions::available() {
            let (at_once, in_pieces) = (whole(instructions, length), whole(instructions, piece));
            prop_assert_eq!(&at_once, &in_pieces);
            for (got, want) in at_once.iter().zip(&book) {
                prop_assert!((f64::from(*got) - want).abs() < 1e-4, "{} for {}", got, want);
            }
        }
    }
}
