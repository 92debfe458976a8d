use super::{
    kernels::{Argument, Kernels, of, of_option},
    tiles::{INPUTS, Tiles, fits},
};
use candle_core::{DType, Device, Result, Tensor, quantized::GgmlDType};
use std::sync::Arc;

/// More rows are faster with the weights turned into elements first: then
/// their bytes weigh less than what cuBLAS does better.
const MOST_ROWS: usize = 256;

/// Outputs of a tile of the result.
const OUTPUTS: usize = 128;

/// Fewer steps of inputs are not worth a block of their own.
const LEAST_STEPS: usize = 7;

/// Blocks for each multiprocessor that keep the memory busy.
const BLOCKS: usize = 3;

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
        let columns = self.outputs.div_ceil(OUTPUTS);
        let Some(product) = self
            .kernels
            .product(self.bits, rows)
            .filter(|_| rows <= MOST_ROWS)
        else {
            return x.matmul(&self.elements()?.t()?);
        };
        let steps = self.inputs / INPUTS;
        let tiles = columns * rows.div_ceil(product.rows);
        let wanted = (self.kernels.processors * BLOCKS).div_ceil(tiles);
        let chunk = steps.div_ceil(wanted.clamp(1, (steps / LEAST_STEPS).max(1)));
        let parts = steps.div_ceil(chunk);
        let partial = if parts > 1 {
            let shape = (parts, rows, self.outputs);
            Some(self.kernels.room_of(shape, DType::F32)?)
        } else {
            None
        };
        let out = self.kernels.room((rows, self.outputs))?;
        self.kernels.launch(
            &product.function,
            (rows.div_ceil(product.rows), columns, parts),
            128,
            product.shared,
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
