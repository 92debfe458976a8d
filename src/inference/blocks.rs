use super::gguf::{GgufFile, Stretch};
use candle_core::{
    Device, Result, Tensor,
    quantized::{GgmlDType, QStorage, QTensor},
};
use std::{borrow::Cow, ops::Range, sync::Arc};

/// Rows of weights, as a file holds them.
pub enum Rows<'a> {
    /// `[rows, inputs]` floats of any type on the CPU.
    Floats(Tensor),
    /// Quantised blocks.
    Blocks(Blocks<'a>),
}

/// Rows of quantised blocks; a row is a whole number of blocks.
#[derive(Clone)]
pub struct Blocks<'a> {
    kind: GgmlDType,
    inputs: usize,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Blocks<'a> {
    /// Rows of `inputs` weights; `inputs` is a multiple of a block.
    pub const fn new(kind: GgmlDType, inputs: usize, bytes: Cow<'a, [u8]>) -> Self {
        Self {
            kind,
            inputs,
            bytes,
        }
    }

    /// The type.
    pub const fn kind(&self) -> GgmlDType {
        self.kind
    }

    /// Weights in a row.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// All blocks, row by row.
    #[cfg(feature = "cuda")]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.bytes.len() / self.row_bytes()
    }

    /// The blocks of one row.
    pub fn row(&self, row: usize) -> &[u8] {
        let size = self.row_bytes();
        &self.bytes[row * size..(row + 1) * size]
    }

    fn row_bytes(&self) -> usize {
        row_bytes(self.kind, self.inputs)
    }

    /// These rows, and below them others of the same type and width.
    pub fn followed_by(self, other: &Blocks<'_>) -> Self {
        let mut bytes = self.bytes.into_owned();
        bytes.extend_from_slice(&other.bytes);
        Self {
            bytes: Cow::Owned(bytes),
            ..self
        }
    }

    /// Rows of `width` weights: what is missing is filled with blocks of
    /// zeros, which is what bytes of zeros are in every type.
    pub fn padded(self, width: usize) -> Self {
        if width == self.inputs {
            return self;
        }
        let (from, to) = (self.row_bytes(), row_bytes(self.kind, width));
        let mut bytes = vec![0; self.rows() * to];
        for (new, old) in bytes
            .chunks_exact_mut(to)
            .zip(self.bytes.chunks_exact(from))
        {
            new[..from].copy_from_slice(old);
        }
        Self::new(self.kind, width, Cow::Owned(bytes))
    }

    /// Some of the rows, on a device.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn tensor(&self, rows: Range<usize>, device: &Device) -> Result<QTensor> {
        let size = self.row_bytes();
        let bytes = &self.bytes[rows.start * size..rows.end * size];
        quantized_tensor(bytes, self.kind, rows.len(), self.inputs, device)
    }
}

/// Bytes of a row of `inputs` weights.
pub fn row_bytes(kind: GgmlDType, inputs: usize) -> usize {
    inputs / kind.block_size() * kind.type_size()
}

/// Blocks as a tensor `[rows, inputs]` on a device.
///
/// # Errors
/// When the device refuses.
pub fn quantized_tensor(
    bytes: &[u8],
    kind: GgmlDType,
    rows: usize,
    inputs: usize,
    device: &Device,
) -> Result<QTensor> {
    // Blocks hold floats of up to 4 bytes; a buffer of our own need not begin
    // where such a float may.
    let aligned;
    let bytes = if bytes.as_ptr().addr().is_multiple_of(4) {
        bytes
    } else {
        let words = bytes.len().div_ceil(4) + 1;
        let mut copy = vec![0_u8; words * 4];
        let start = copy.as_ptr().align_offset(4);
        copy[start..start + bytes.len()].copy_from_slice(bytes);
        aligned = copy;
        &aligned[start..start + bytes.len()]
    };
    let storage = QStorage::from_data(Cow::Borrowed(bytes), device, kind)?;
    QTensor::new(storage, (rows, inputs))
}

/// An embedding table that stays in its file.
pub struct BlockTable {
    file: Arc<GgufFile>,
    stretch: Stretch,
}

impl BlockTable {
    /// A table of quantised blocks, `[vocab, hidden]`.
    pub const fn new(file: Arc<GgufFile>, stretch: Stretch) -> Self {
        Self { file, stretch }
    }

    /// The type.
    pub const fn kind(&self) -> GgmlDType {
        self.stretch.kind
    }

    /// Bytes in the file.
    pub const fn bytes(&self) -> usize {
        self.stretch.bytes.end - self.stretch.bytes.start
    }

    /// The rows of these tokens in f32, `[tokens, hidden]`.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn rows(&self, tokens: &[u32], hidden: usize, device: &Device) -> Result<Tensor> {
        let table = self.file.bytes(self.stretch.bytes.clone());
        let size = row_bytes(self.stretch.kind, hidden);
        let mut bytes = Vec::with_capacity(tokens.len() * size);
        for token in tokens {
            let start = *token as usize * size;
            bytes.extend_from_slice(&table[start..start + size]);
        }
        quantized_tensor(
            &bytes,
            self.stretch.kind,
            tokens.len(),
            hidden,
            &Device::Cpu,
        )?
        .dequantize(device)
    }
}
