use super::{
    blocks::{Blocks, Rows},
    gguf::kind_name,
    half_matrix::HalfMatrix,
    host,
    matrix::PackedMatrix,
    quantized::{BlockKind, BlockMatrix},
    weight_cache::{Form, Kept},
};
use crate::domain::Dtype;
use candle_core::{
    DType, Device, Module, Result, Tensor,
    quantized::{GgmlDType, QMatMul, QTensor},
};
use rayon::prelude::*;
use std::{borrow::Cow, ops::Range, sync::Arc};

#[cfg(feature = "cuda")]
use super::cuda::{TileMatrix, Tiles};

/// What the weights of a linear layer became in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// `F32`, `BF16`, `Q8_0`, `Q4_K`, ...; several where the parts of a joint
    /// layer differ.
    pub kind: String,
    /// Weights, padding not counted.
    pub weights: usize,
    /// Bytes that they take.
    pub bytes: usize,
}

enum Store {
    /// f32 on the CPU, by kernels of our own.
    Packed(Arc<PackedMatrix>),
    /// bf16 on a CPU that multiplies it, by kernels of our own.
    Half(HalfMatrix),
    /// Quantised blocks on the CPU, by kernels of our own.
    Blocks(Arc<BlockMatrix>),
    /// `[outputs, inputs]`, any float type, by candle's matmul.
    Dense(Tensor),
    /// Quantised blocks on a GPU, and on the CPU those that our kernels do not
    /// know, by candle's: the outputs in parts, one below the other; inputs
    /// are padded with zeros to this width.
    Quantized { parts: Vec<QMatMul>, width: usize },
    /// Q8_0 or Q4_K on a GPU, by kernels of our own.
    #[cfg(feature = "cuda")]
    Tiles(TileMatrix),
    /// Layers that are stored in different ways, one below the other.
    Joined(Vec<Linear>),
}

/// Where the weights of a linear layer are to be kept.
#[derive(Clone)]
pub struct Place {
    /// The device.
    pub device: Device,
    /// Our own kernels for it, where it is a GPU that they fit.
    #[cfg(feature = "cuda")]
    pub kernels: Option<Arc<super::cuda::Kernels>>,
}

impl Place {
    /// A device by candle's kernels.
    pub const fn plain(device: Device) -> Self {
        Self {
            device,
            #[cfg(feature = "cuda")]
            kernels: None,
        }
    }
}

/// The name of the order in which quantised weights lie, for a device and the
/// type that is computed in; another one when the order changes.
pub fn order(device: &Device, compute: DType) -> String {
    match device.is_cpu() {
        true => "panels-2".to_owned(),
        false => format!("tiles-1-{}", compute.as_str()),
    }
}

/// How the weights of a linear layer are to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As floats of this type.
    Float(DType),
    /// Q8_0.
    Eight,
    /// Q4_K where the width allows it, else Q8_0.
    Four,
}

impl Precision {
    /// Floats on the CPU: bf16 where that was asked for and the processor
    /// multiplies it, else f32.
    pub fn of_cpu(dtype: Dtype) -> Self {
        if dtype == Dtype::Bf16 && HalfMatrix::is_possible() {
            Self::Float(DType::BF16)
        } else {
            Self::Float(DType::F32)
        }
    }

    /// The blocks that weights of this width become; `None` for floats.
    pub const fn kind(self, inputs: usize) -> Option<BlockKind> {
        match self {
            Self::Float(_) => None,
            Self::Four if four_bit_width(inputs).is_some() => Some(BlockKind::Q4K),
            Self::Eight | Self::Four => Some(BlockKind::Q8_0),
        }
    }
}

/// `y = x W^T + b` over packed rows.
pub struct Linear {
    store: Store,
    /// `[outputs]`, in the computation type.
    bias: Option<Tensor>,
    stored: Stored,
}

impl Linear {
    /// Takes rows of weights to `device`: floats become what `precision`
    /// asks for, blocks stay what they are.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn of_rows(
        rows: Vec<Rows<'_>>,
        bias: Option<Tensor>,
        precision: Precision,
        place: &Place,
    ) -> Result<Self> {
        let mut layers = rows
            .into_iter()
            .map(|rows| match rows {
                Rows::Floats(weights) => Self::new(&weights, None, precision, place),
                Rows::Blocks(blocks) => Self::of_blocks(blocks, place),
            })
            .collect::<Result<Vec<_>>>()?;
        if layers.len() == 1
            && let Some(layer) = layers.pop()
        {
            return Ok(Self { bias, ..layer });
        }
        let mut kinds: Vec<&str> = layers.iter().map(|l| l.stored.kind.as_str()).collect();
        kinds.dedup();
        let stored = Stored {
            kind: kinds.join("+"),
            weights: layers.iter().map(|layer| layer.stored.weights).sum(),
            bytes: layers.iter().map(|layer| layer.stored.bytes).sum(),
        };
        Ok(Self {
            store: Store::Joined(layers),
            bias,
            stored,
        })
    }

    /// Takes quantised rows to `device` as they are.
    fn of_blocks(blocks: Blocks<'_>, place: &Place) -> Result<Self> {
        let device = &place.device;
        if device.is_cpu()
            && let Some(kind) = BlockKind::of(blocks.kind())
        {
            let matrix = BlockMatrix::of_blocks(kind, &blocks);
            return Ok(Self::of_matrix(Arc::new(matrix), None));
        }
        let (outputs, inputs, kind) = (blocks.rows(), blocks.inputs(), blocks.kind());
        #[cfg(feature = "cuda")]
        if let Some(kernels) = &place.kernels
            && let Some(layer) =
                Self::tiled(kernels, kind, outputs, inputs, blocks.bytes(), device)?
        {
            return Ok(layer);
        }
        let width = four_bit_width(inputs).unwrap_or(inputs);
        let blocks = blocks.padded(width);
        let mut bytes = 0;
        let mut parts = Vec::new();
        for rows in parts_of(outputs, device) {
            let tensor = blocks.tensor(rows, device)?;
            bytes += tensor.storage_size_in_bytes();
            parts.push(QMatMul::from_arc(Arc::new(tensor))?);
        }
        Ok(Self {
            store: Store::Quantized { parts, width },
            bias: None,
            stored: Stored {
                kind: kind_name(kind).to_owned(),
                weights: outputs * inputs,
                bytes,
            },
        })
    }

    /// A layer as it was kept; `None` when it can not have been one.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn of_kept(
        form: Form,
        (map, range): Kept,
        bias: Option<Tensor>,
        place: &Place,
    ) -> Result<Option<Self>> {
        let Form {
            kind,
            outputs,
            inputs,
        } = form;
        if place.device.is_cpu() {
            let matrix = BlockMatrix::of_map(kind, outputs, inputs, map, range);
            return Ok(matrix.map(|matrix| Self::of_matrix(Arc::new(matrix), bias)));
        }
        #[cfg(feature = "cuda")]
        if let Some(kernels) = &place.kernels
            && let Some(tiles) =
                Tiles::of_bytes(kind.ggml(), outputs, padded(inputs, kind), &map[range])
        {
            let matrix = TileMatrix::of_tiles(Arc::clone(kernels), &tiles, &place.device)?;
            return Ok(Some(Self {
                bias,
                ..Self::of_tiles(matrix, kind.ggml(), outputs * inputs)
            }));
        }
        Ok(None)
    }

    /// What [`Linear::of_kept`] makes it of again; `None` where it is not
    /// quantised, or not by kernels of our own.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn to_keep(&self) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(match &self.store {
            Store::Blocks(matrix) => Some(Cow::Borrowed(matrix.as_bytes())),
            #[cfg(feature = "cuda")]
            Store::Tiles(matrix) => Some(Cow::Owned(matrix.to_host()?)),
            _ => None,
        })
    }

    /// A layer of blocks on the CPU.
    pub fn of_matrix(matrix: Arc<BlockMatrix>, bias: Option<Tensor>) -> Self {
        Self {
            stored: Stored {
                kind: kind_name(matrix.kind().ggml()).to_owned(),
                weights: matrix.outputs() * matrix.inputs(),
                bytes: matrix.bytes(),
            },
            store: Store::Blocks(matrix),
            bias,
        }
    }

    /// Takes `[outputs, inputs]` weights from the CPU to `device`.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn new(
        weights: &Tensor,
        bias: Option<Tensor>,
        precision: Precision,
        place: &Place,
    ) -> Result<Self> {
        let device = &place.device;
        let (outputs, inputs) = weights.dims2()?;
        let count = outputs * inputs;
        let (store, kind, bytes) = match precision {
            Precision::Float(dtype) if device.is_cpu() && dtype == DType::F32 => {
                let weights = weights.to_dtype(DType::F32)?.contiguous()?;
                let packed =
                    host::with_f32(&weights, |w| Ok(PackedMatrix::new(outputs, inputs, w)))?;
                let bytes = packed.bytes();
                (Store::Packed(Arc::new(packed)), "F32", bytes)
            }
            Precision::Float(dtype)
                if device.is_cpu() && dtype == DType::BF16 && HalfMatrix::is_possible() =>
            {
                let weights = weights.to_dtype(DType::F32)?.contiguous()?;
                let half = host::with_f32(&weights, |w| Ok(HalfMatrix::new(outputs, inputs, w)))?;
                let bytes = half.bytes();
                (Store::Half(half), "BF16", bytes)
            }
            Precision::Float(dtype) => {
                let weights = weights.to_dtype(dtype)?.to_device(device)?;
                let kind = float_name(dtype);
                (Store::Dense(weights), kind, count * dtype.size_in_bytes())
            }
            Precision::Eight | Precision::Four => {
                let kind = precision.kind(inputs).unwrap_or(BlockKind::Q8_0);
                if device.is_cpu() {
                    let matrix = BlockMatrix::quantize(kind, weights)?;
                    return Ok(Self::of_matrix(Arc::new(matrix), bias));
                }
                #[cfg(feature = "cuda")]
                if let Some(kernels) = &place.kernels
                    && TileMatrix::fits(kind.ggml(), outputs, padded(inputs, kind))
                {
                    let width = padded(inputs, kind);
                    let blocks = QTensor::quantize(&widened(weights, width)?, kind.ggml())?;
                    let tiled = Self::tiled(
                        kernels,
                        kind.ggml(),
                        outputs,
                        width,
                        &blocks.data()?,
                        device,
                    )?;
                    if let Some(layer) = tiled {
                        let stored = Stored {
                            weights: count,
                            ..layer.stored
                        };
                        return Ok(Self {
                            bias,
                            stored,
                            ..layer
                        });
                    }
                }
                quantized(weights, kind.ggml(), device)?
            }
        };
        Ok(Self {
            store,
            bias,
            stored: Stored {
                kind: kind.to_owned(),
                weights: count,
                bytes,
            },
        })
    }

    /// A layer of tiles on a GPU, where the blocks fit.
    #[cfg(feature = "cuda")]
    fn tiled(
        kernels: &Arc<super::cuda::Kernels>,
        kind: GgmlDType,
        outputs: usize,
        inputs: usize,
        bytes: &[u8],
        device: &Device,
    ) -> Result<Option<Self>> {
        let kernels = Arc::clone(kernels);
        let matrix = TileMatrix::new(kernels, kind, outputs, inputs, bytes, device)?;
        Ok(matrix.map(|matrix| Self::of_tiles(matrix, kind, outputs * inputs)))
    }

    #[cfg(feature = "cuda")]
    fn of_tiles(matrix: TileMatrix, kind: GgmlDType, weights: usize) -> Self {
        Self {
            bias: None,
            stored: Stored {
                kind: kind_name(kind).to_owned(),
                weights,
                bytes: matrix.bytes(),
            },
            store: Store::Tiles(matrix),
        }
    }

    /// What is added to the product, `[outputs]`.
    #[cfg(feature = "cuda")]
    pub const fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// What the weights became.
    pub const fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The f32 weights, where they can serve as an embedding table too.
    pub fn packed(&self) -> Option<Arc<PackedMatrix>> {
        match &self.store {
            Store::Packed(packed) => Some(Arc::clone(packed)),
            _ => None,
        }
    }

    /// `x [rows, inputs]` to `[rows, outputs]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.store {
            Store::Packed(packed) => {
                let (rows, _) = x.dims2()?;
                let mut y = host::with_f32(x, |x| Ok(packed.multiply(x)))?;
                if let Some(bias) = &self.bias {
                    host::with_f32(bias, |bias| {
                        for row in y.chunks_exact_mut(bias.len()) {
                            row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
                        }
                        Ok(())
                    })?;
                }
                Tensor::from_vec(y, (rows, packed.outputs()), x.device())
            }
            Store::Half(matrix) => {
                self.multiply(x, matrix.outputs(), |x, bias| matrix.multiply(x, bias))
            }
            Store::Blocks(matrix) => {
                self.multiply(x, matrix.outputs(), |x, bias| matrix.multiply(x, bias))
            }
            _ => {
                let y = self.product(x)?;
                match &self.bias {
                    Some(bias) => y.broadcast_add(bias),
                    None => Ok(y),
                }
            }
        }
    }

    /// The product alone, by the device's kernels.
    ///
    /// # Errors
    /// When the device fails.
    pub fn product(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.store {
            // These add the bias as they multiply.
            Store::Packed(_) | Store::Half(_) | Store::Blocks(_) => self.forward(x)?,
            #[cfg(feature = "cuda")]
            Store::Tiles(matrix) => matrix.multiply(x)?,
            Store::Dense(weights) => x.matmul(&weights.t()?)?,
            Store::Joined(layers) => {
                let results = layers
                    .iter()
                    .map(|layer| layer.forward(x))
                    .collect::<Result<Vec<_>>>()?;
                Tensor::cat(&results, 1)?
            }
            Store::Quantized { parts, width } => {
                let missing = width - x.dim(1)?;
                let x = if missing == 0 {
                    x.contiguous()?
                } else {
                    x.pad_with_zeros(1, 0, missing)?
                };
                match parts.as_slice() {
                    [matmul] => matmul.forward(&x)?,
                    parts => {
                        let results = parts
                            .par_iter()
                            .map(|matmul| matmul.forward(&x))
                            .collect::<Result<Vec<_>>>()?;
                        Tensor::cat(&results, 1)?
                    }
                }
            }
        })
    }

    /// A product on the CPU, with the bias.
    fn multiply(
        &self,
        x: &Tensor,
        outputs: usize,
        product: impl Fn(&[f32], Option<&[f32]>) -> Vec<f32>,
    ) -> Result<Tensor> {
        let with = |bias: Option<&[f32]>| host::with_f32(x, |x| Ok(product(x, bias)));
        let y = match &self.bias {
            Some(bias) => host::with_f32(bias, |bias| with(Some(bias)))?,
            None => with(None)?,
        };
        Tensor::from_vec(y, (x.dim(0)?, outputs), x.device())
    }
}

/// The width that 4 bits need: the next multiple of a block of 256, as long
/// as the padding costs at most a quarter.
const fn four_bit_width(inputs: usize) -> Option<usize> {
    let padded = inputs.next_multiple_of(256);
    if padded * 4 <= inputs * 5 {
        Some(padded)
    } else {
        None
    }
}

/// The width of rows of `inputs` weights as whole blocks.
#[cfg(feature = "cuda")]
fn padded(inputs: usize, kind: BlockKind) -> usize {
    match kind {
        BlockKind::Q4K => four_bit_width(inputs).unwrap_or(inputs),
        _ => inputs.next_multiple_of(32),
    }
}

/// Weights in f32, with zeros up to a width.
fn widened(weights: &Tensor, width: usize) -> Result<Tensor> {
    let weights = weights.to_dtype(DType::F32)?;
    let inputs = weights.dim(1)?;
    let weights = if width == inputs {
        weights
    } else {
        weights.pad_with_zeros(1, 0, width - inputs)?
    };
    // Quantising takes all values behind a tensor, so a view is copied.
    weights.force_contiguous()
}

/// Floats as blocks on a GPU.
fn quantized(
    weights: &Tensor,
    kind: GgmlDType,
    device: &Device,
) -> Result<(Store, &'static str, usize)> {
    let (_, inputs) = weights.dims2()?;
    // Q8_0 has blocks of 32, but the fast kernels want multiples of 256.
    let width = four_bit_width(inputs).unwrap_or(inputs.next_multiple_of(32));
    let weights = widened(weights, width)?;
    let tensor = QTensor::quantize_onto(&weights, kind, device)?;
    let bytes = tensor.storage_size_in_bytes();
    let parts = vec![QMatMul::from_arc(Arc::new(tensor))?];
    Ok((Store::Quantized { parts, width }, kind_name(kind), bytes))
}

/// How the outputs of a layer of blocks without kernels of ours are divided.
///
/// The fast kernels want multiples of 16 outputs, so what is left over is a
/// part of its own. candle's own threads wait for each other by spinning,
/// which stands still when the processor is shared: where they are switched
/// off (`CANDLE_NUM_THREADS=1`), rayon's threads take a part each instead.
fn parts_of(outputs: usize, device: &Device) -> Vec<Range<usize>> {
    let even = outputs / 16 * 16;
    if !device.is_cpu() || even == 0 {
        return std::iter::once(0..outputs).collect();
    }
    let is_off = std::env::var("CANDLE_NUM_THREADS").is_ok_and(|threads| threads.trim() == "1");
    let threads = if is_off {
        rayon::current_num_threads()
    } else {
        1
    };
    let rows = if even >= 64 * threads {
        even.div_ceil(threads).next_multiple_of(16)
    } else {
        even
    };
    (0..even)
        .step_by(rows)
        .map(|start| start..even.min(start + rows))
        .chain((even < outputs).then_some(even..outputs))
        .collect()
}

/// The name of a float type in reports.
pub const fn float_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F64 => "F64",
        _ => "F32",
    }
}
