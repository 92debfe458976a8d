use super::{
    blocks::{BlockTable, Blocks, Rows, quantized_tensor, row_bytes},
    classify,
    config::ModelConfig,
    gguf::{GgufFile, Stretch, gguf_name, interleaved_row, is_interleaved, kind_name},
};
use crate::domain::Failure;
use candle_core::{DType, Device, Tensor, quantized::GgmlDType};
use std::{borrow::Cow, sync::Arc};

/// The tensors of a GGUF file, by the names that the loader uses.
pub struct GgufWeights {
    file: Arc<GgufFile>,
    post_norms: bool,
    /// The width of a head, where queries and keys are stored interleaved.
    interleaved: Option<usize>,
}

impl GgufWeights {
    /// The tensors of a file that `config` was read from.
    pub fn new(file: Arc<GgufFile>, config: &ModelConfig) -> Self {
        Self {
            file,
            post_norms: config.post_norms,
            interleaved: is_interleaved(&config.family).then_some(config.head_dim),
        }
    }

    fn name(&self, name: &str) -> String {
        gguf_name(name, self.post_norms)
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.file.has_tensor(&self.name(name))
    }

    /// The type to compute in that suits a tensor. Blocks stand for values
    /// that were bf16 or f16; the former has the range for all of them.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        let stretch = self.file.stretch(&self.name(name)).ok()?;
        Some(match stretch.kind {
            GgmlDType::F32 => DType::F32,
            GgmlDType::F16 => DType::F16,
            _ => DType::BF16,
        })
    }

    /// Gives back the memory that reading a tensor has filled.
    pub fn forget(&self, name: &str) {
        if let Ok(stretch) = self.file.stretch(&self.name(name)) {
            self.file.forget(stretch.bytes);
        }
    }

    /// A tensor of floats on the CPU in its own type; blocks become f32.
    ///
    /// # Errors
    /// One sentence (class `permanent`) with its name when it is missing or
    /// has another shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, Failure> {
        let (stretch, bytes) = self.stored(name, shape)?;
        let load = || match stretch.kind {
            GgmlDType::F32 => Tensor::from_raw_buffer(&bytes, DType::F32, shape, &Device::Cpu),
            GgmlDType::F16 => Tensor::from_raw_buffer(&bytes, DType::F16, shape, &Device::Cpu),
            GgmlDType::BF16 => Tensor::from_raw_buffer(&bytes, DType::BF16, shape, &Device::Cpu),
            kind => {
                let inputs = shape.last().copied().unwrap_or(1);
                let rows = shape.iter().product::<usize>() / inputs.max(1);
                quantized_tensor(&bytes, kind, rows, inputs, &Device::Cpu)?
                    .dequantize(&Device::Cpu)?
                    .reshape(shape)
            }
        };
        load().map_err(|error| {
            self.file.permanent(&format!(
                "has a tensor {} that can not be read: {}",
                self.name(name),
                classify::in_short(&error)
            ))
        })
    }

    /// The rows of a matrix as they are stored.
    ///
    /// # Errors
    /// As [`GgufWeights::tensor`], and when the blocks are of a type that no
    /// kernel multiplies by.
    pub fn rows(&self, name: &str, rows: usize, inputs: usize) -> Result<Rows<'_>, Failure> {
        let shape = [rows, inputs];
        let (stretch, bytes) = self.stored(name, &shape)?;
        match stretch.kind {
            GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => {
                drop(bytes);
                self.tensor(name, &shape).map(Rows::Floats)
            }
            kind @ (GgmlDType::Q8_1 | GgmlDType::Q8K) => Err(self.file.permanent(&format!(
                "has a tensor {} of the type {}, which is for intermediate results only",
                self.name(name),
                kind_name(kind)
            ))),
            kind => Ok(Rows::Blocks(Blocks::new(kind, inputs, bytes))),
        }
    }

    /// A quantised table, where it lies; `None` when it is floats.
    ///
    /// # Errors
    /// As [`GgufWeights::tensor`].
    pub fn block_table(&self, name: &str, shape: &[usize]) -> Result<Option<BlockTable>, Failure> {
        let (stretch, _) = self.stored(name, shape)?;
        let is_float = matches!(
            stretch.kind,
            GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16
        );
        Ok((!is_float).then(|| BlockTable::new(Arc::clone(&self.file), stretch)))
    }

    /// The bytes of a tensor, in the order of rows that the decoder expects.
    fn stored(&self, name: &str, shape: &[usize]) -> Result<(Stretch, Cow<'_, [u8]>), Failure> {
        let theirs = self.name(name);
        let stretch = self.file.stretch(&theirs)?;
        if stretch.shape != shape {
            return Err(self.file.permanent(&format!(
                "has a tensor {theirs} of shape {:?}, but its keys ask for {shape:?}",
                stretch.shape
            )));
        }
        let bytes = self.file.bytes(stretch.bytes.clone());
        let is_rotated = name.contains("self_attn.q_proj") || name.contains("self_attn.k_proj");
        let bytes = match self.interleaved.filter(|_| is_rotated) {
            None => Cow::Borrowed(bytes),
            Some(head_dim) => {
                let size = match shape {
                    [_, inputs] => row_bytes(stretch.kind, *inputs),
                    _ => stretch.kind.type_size(),
                };
                let mut ours = Vec::with_capacity(bytes.len());
                for row in 0..bytes.len() / size {
                    let start = interleaved_row(row, head_dim) * size;
                    ours.extend_from_slice(&bytes[start..start + size]);
                }
                Cow::Owned(ours)
            }
        };
        Ok((stretch, bytes))
    }
}
