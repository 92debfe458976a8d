use super::{
    kernels::{Argument, Kernels, of, of_option},
    tiles::{INPUTS, Tiles, fits},
};
use candle_core::{DType, Device, Result, Tensor, quantized::GgmlDType};
use std::sync::Arc;

/// More rows are faster with the weights turned into elements first: then
/// their bytes weigh less than what cuBLAS does better.
const MOST_ROWS: usize = 256;

/// Outputs of a block.
const OUTPUTS: usize = 128;

/// Blocks for each multiprocessor that keep the memory busy.
const BLOCKS: usize = 2;

/// Fewer steps of inputs are not worth a block of their own.
const STEPS: usize = 8;

/// A quantised matrix on a GPU.
pub struct TileMatrix {
    kernels: Arc<Kernels>,
    bits: usize,
    outputs: usize,
    inputs: usize,
    weights: Tensor,
    scales: Tensor,
}

impl TileMatrix {
    /// Whether a matrix of blocks of this type can be one.
    pub fn fits(kind: GgmlDType, outputs: usize, inputs: usize) -> bool {
        fits(kind) && inputs.is_multiple_of(kind.block_size()) && outputs.is_multiple_of(8)
    }

    /// Takes rows of blocks to the device; `None` where they do not fit.
    ///
    /// # Errors
    /// When the device has no memory.
    pub fn new(
        kernels: Arc<Kernels>,
        kind: GgmlDType,
        outputs: usize,
        inputs: usize,
        bytes: &[u8],
        device: &Device,
    ) -> Result<Option<Self>> {
        if !Self::fits(kind, outputs, inputs) {
            return Ok(None);
        }
        let Some(tiles) = Tiles::of_blocks(kind, outputs, inputs, bytes) else {
            return Ok(None);
        };
        let upload = |bytes: Vec<u8>| {
            let len = bytes.len();
            Tensor::from_vec(bytes, len, device)
        };
        Ok(Some(Self {
            kernels,
            bits: tiles.bits,
            outputs,
            inputs: tiles.inputs,
            weights: upload(tiles.weights)?,
            scales: upload(tiles.scales)?,
        }))
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.weights.elem_count() + self.scales.elem_count()
    }

    /// `x [rows, inputs]` to `[rows, outputs]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let x = if width == self.inputs {
            x.contiguous()?
        } else {
            x.pad_with_zeros(1, 0, self.inputs - width)?
        };
        match self.kernels.product(self.bits, rows) {
            Some((tall, function, shared)) if rows <= MOST_ROWS => {
                let steps = self.inputs / INPUTS;
                let blocks = (rows.div_ceil(tall), self.outputs.div_ceil(OUTPUTS));
                let wanted = self.kernels.processors * BLOCKS / (blocks.0 * blocks.1).max(1);
                let parts = wanted.clamp(1, (steps / STEPS).max(1));
                let chunk = steps.div_ceil(parts);
                let parts = steps.div_ceil(chunk);
                let out = self.kernels.room((rows, self.outputs))?;
                let partial = if parts > 1 {
                    Some(
                        self.kernels
                            .room_of((parts, rows, self.outputs), DType::F32)?,
                    )
                } else {
                    None
                };
                self.kernels.launch(
                    function,
                    (blocks.0, blocks.1, parts),
                    128,
                    shared,
                    &[
                        of(&x)?,
                        of(&self.weights)?,
                        of(&self.scales)?,
                        of(&out)?,
                        of_option(partial.as_ref())?,
                        Argument::Int(rows),
                        Argument::Int(self.outputs),
                        Argument::Int(self.inputs),
                        Argument::Int(chunk),
                    ],
                )?;
                if let Some(partial) = partial {
                    let size = rows * self.outputs;
                    self.kernels.launch(
                        &self.kernels.sum_parts,
                        (size.div_ceil(4 * 256), 1, 1),
                        256,
                        0,
                        &[
                            of(&partial)?,
                            of(&out)?,
                            Argument::Int(parts),
                            Argument::Int(size),
                        ],
                    )?;
                }
                Ok(out)
            }
            _ => x.matmul(&self.elements()?.t()?),
        }
    }

    /// The weights as elements, `[outputs, inputs]`.
    fn elements(&self) -> Result<Tensor> {
        let out = self.kernels.room((self.outputs, self.inputs))?;
        let tiles = self.outputs.div_ceil(16) * (self.inputs / INPUTS);
        self.kernels.launch(
            self.kernels.expand(self.bits),
            (tiles.div_ceil(4), 1, 1),
            128,
            0,
            &[
                of(&self.weights)?,
                of(&self.scales)?,
                of(&out)?,
                Argument::Int(self.outputs),
                Argument::Int(self.inputs),
            ],
        )?;
        Ok(out)
    }
}
