use super::{
    division::Division,
    kernels::{Argument, Kernels, of, of_option, pointer},
    tiles::{INPUTS, Tiles, fits},
};
use candle_core::{DType, Device, Result, Tensor, quantized::GgmlDType};
use std::sync::Arc;

/// More rows are faster with the weights turned into elements first: then
/// their bytes weigh less than what cuBLAS does better.
const MOST_ROWS: usize = 256;

/// Outputs of a tile of the result.
const OUTPUTS: usize = 128;

/// A quantised matrix on a GPU.
pub struct TileMatrix {
    kernels: Arc<Kernels>,
    bits: usize,
    outputs: usize,
    inputs: usize,
    /// Weights, and then scales.
    bytes: Tensor,
    /// Where the scales begin.
    scales: usize,
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
        let Some(tiles) = Tiles::of_blocks(kind, kernels.dtype(), outputs, inputs, bytes) else {
            return Ok(None);
        };
        Self::of_tiles(kernels, &tiles, device).map(Some)
    }

    /// Takes tiles to the device.
    ///
    /// # Errors
    /// When the device has no memory.
    pub fn of_tiles(kernels: Arc<Kernels>, tiles: &Tiles<'_>, device: &Device) -> Result<Self> {
        Ok(Self {
            kernels,
            bits: tiles.bits,
            outputs: tiles.outputs,
            inputs: tiles.inputs,
            bytes: Tensor::from_slice(&tiles.bytes, tiles.bytes.len(), device)?,
            scales: tiles.scales,
        })
    }

    /// The bytes of the tiles, from the device.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_host(&self) -> Result<Vec<u8>> {
        self.bytes.to_vec1()
    }

    /// Where weights and scales begin on the device.
    fn places(&self) -> Result<[Argument; 2]> {
        let start = pointer(&self.bytes)?;
        Ok([start, start + self.scales as u64].map(Argument::Pointer))
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.bytes.elem_count()
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
        let row_tiles = rows.div_ceil(product.rows);
        let steps = self.inputs / INPUTS;
        // Of those with many rows fewer fit on a multiprocessor.
        let resident = if product.rows < 64 { 3 } else { 2 };
        let division = Division::new(columns, row_tiles, steps, self.kernels.processors, resident);
        let others = self.outputs.saturating_sub(division.whole * OUTPUTS);
        let partial = if division.parts > 1 {
            let shape = (division.parts, rows, others);
            Some(self.kernels.room_of(shape, DType::F32)?)
        } else {
            None
        };
        let out = self.kernels.room((rows, self.outputs))?;
        let [weights, scales] = self.places()?;
        self.kernels.launch(
            &product.function,
            (row_tiles, division.blocks, 1),
            128,
            product.shared,
            &[
                of(&x)?,
                weights,
                scales,
                of(&out)?,
                of_option(partial.as_ref())?,
                Argument::Int(rows),
                Argument::Int(self.outputs),
                Argument::Int(self.inputs),
                Argument::Int(division.whole),
                Argument::Int(division.parts),
                Argument::Int(division.chunk),
            ],
        )?;
        if let Some(partial) = partial {
            self.kernels.launch(
                &self.kernels.sum_parts,
                ((rows * others).div_ceil(4 * 256), 1, 1),
                256,
                0,
                &[
                    of(&partial)?,
                    of(&out)?,
                    Argument::Int(rows),
                    Argument::Int(self.outputs),
                    Argument::Int(others),
                    Argument::Int(division.parts),
                ],
            )?;
        }
        Ok(out)
    }

    /// The weights as elements, `[outputs, inputs]`.
    fn elements(&self) -> Result<Tensor> {
        let out = self.kernels.room((self.outputs, self.inputs))?;
        let tiles = self.outputs.div_ceil(16) * (self.inputs / INPUTS);
        let [weights, scales] = self.places()?;
        self.kernels.launch(
            self.kernels.expand(self.bits),
            (tiles.div_ceil(4), 1, 1),
            128,
            0,
            &[
                weights,
                scales,
                of(&out)?,
                Argument::Int(self.outputs),
                Argument::Int(self.inputs),
            ],
        )?;
        Ok(out)
    }
}
