//! What candle has no kernel for on NVIDIA GPUs, for half precision:
//! attention over ragged sequences, fused passes, and products with weights of
//! 8 and 4 bits. The kernels are compiled for the model's shape when it is
//! loaded, by NVRTC. With the feature `flash-attn`, candle-flash-attn's
//! kernels attend over prompts in place of ours.
//!
//! Computing in f32, heads that the kernels do not know, and devices older than
//! Ampere take candle's operations instead (`attention_device.rs`).

#[cfg(feature = "cuda")]
mod cache;
#[cfg(any(feature = "cuda", test))]
mod division;
#[cfg(all(feature = "cuda", feature = "failpoints"))]
mod drill;
#[cfg(feature = "flash-attn")]
mod flash;
#[cfg(feature = "cuda")]
mod forward;
#[cfg(feature = "cuda")]
mod kernels;
#[cfg(feature = "cuda")]
mod plan;
#[cfg(feature = "cuda")]
mod tile_matrix;
#[cfg(any(feature = "cuda", test))]
mod tiles;

#[cfg(all(feature = "cuda", feature = "failpoints"))]
pub use self::drill::drill;
#[cfg(feature = "cuda")]
pub use self::{
    cache::RaggedCache, forward::Angles, kernels::Kernels, tile_matrix::TileMatrix, tiles::Tiles,
};
