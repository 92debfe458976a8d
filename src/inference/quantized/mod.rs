//! Matrices of 8, 6, 5 and 4 bits a weight on the processor.
//!
//! The numerics. Weights are what the blocks of ggml's formats say, exactly.
//! Every 32 activations of a row become whole numbers between -127 and 127
//! and an f32 scale (their largest magnitude / 127), rounded to the nearest,
//! ties to even. Products of codes are summed exactly, in 32-bit integers,
//! over 32 weights (16 where the format has a scale for 16); the sums are
//! scaled and added in f32 in the order of the inputs, multiplied and added
//! apart. So a row's result is the same, to the last bit, in every batch and
//! on every processor.

mod activations;
mod kernel;
mod kind;
mod matrix;
mod panel;

pub use kind::BlockKind;
pub use matrix::BlockMatrix;
