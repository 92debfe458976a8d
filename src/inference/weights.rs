use super::{
    blocks::{BlockTable, Blocks, Rows},
    classify,
    config::ModelConfig,
    gguf::GgufFile,
    gguf_weights::GgufWeights,
    mapped::MappedTensors,
};
use crate::{
    domain::{Failure, FailureClass},
    hub::WeightFiles,
};
use candle_core::{DType, Device, Tensor, safetensors::SliceSafetensors};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

enum Source {
    Mapped(Arc<MappedTensors>),
    Embedded(SliceSafetensors<'static>),
    Gguf(GgufWeights),
}

/// The tensors of a model by name, checked before they are used.
pub struct Weights {
    source: Source,
    shapes: BTreeMap<String, Vec<usize>>,
    label: String,
}

impl Weights {
    /// Maps the files into memory; nothing is read yet but their headers.
    ///
    /// # Errors
    /// One sentence (class `permanent`) when a file is damaged.
    pub fn open(label: &str, files: &WeightFiles) -> Result<Self, Failure> {
        let damaged = |error: candle_core::Error| {
            permanent(format!(
                "the weights of {label} can not be read, fetch them again: {}",
                classify::in_short(&error)
            ))
        };
        let source = match files {
            WeightFiles::Safetensors(paths) => {
                Source::Mapped(Arc::new(MappedTensors::open(paths).map_err(damaged)?))
            }
            WeightFiles::Embedded(bytes) => {
                Source::Embedded(SliceSafetensors::new(bytes).map_err(damaged)?)
            }
            WeightFiles::Gguf(path) => {
                return Err(permanent(format!(
                    "{label}: {} brings its own configuration",
                    path.display()
                )));
            }
        };
        let shapes = match &source {
            Source::Mapped(mapped) => mapped
                .shapes()
                .map(|(name, shape)| (name.clone(), shape.clone()))
                .collect(),
            Source::Embedded(slice) => slice
                .tensors()
                .into_iter()
                .map(|(name, view)| (name, view.shape().to_vec()))
                .collect(),
            Source::Gguf(_) => BTreeMap::new(),
        };
        Ok(Self {
            source,
            shapes,
            label: label.to_owned(),
        })
    }

    /// The tensors of a GGUF file, by the names that the loader uses.
    pub fn of_gguf(file: Arc<GgufFile>, config: &ModelConfig) -> Self {
        let label = file.label().to_owned();
        Self {
            source: Source::Gguf(GgufWeights::new(file, config)),
            shapes: BTreeMap::new(),
            label,
        }
    }

    /// The tensors and their shapes, where they lie in safetensors.
    pub fn shapes(&self) -> impl Iterator<Item = (&String, &Vec<usize>)> {
        self.shapes.iter()
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        match &self.source {
            Source::Gguf(gguf) => gguf.has(name),
            _ => self.shapes.contains_key(name),
        }
    }

    /// The type that a tensor is stored in, if it is one to compute in.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        let dtype = match &self.source {
            Source::Mapped(mapped) => mapped.dtype(name),
            Source::Embedded(slice) => DType::try_from(slice.get(name).ok()?.dtype()).ok(),
            Source::Gguf(gguf) => return gguf.dtype(name),
        };
        dtype.filter(|dtype| matches!(dtype, DType::F32 | DType::F16 | DType::BF16))
    }

    /// A tensor on the CPU in its own type.
    ///
    /// # Errors
    /// One sentence (class `permanent`) with its name when it is missing, has
    /// another shape or holds no floats.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, Failure> {
        if let Source::Gguf(gguf) = &self.source {
            return gguf.tensor(name, shape);
        }
        let Some(found) = self.shapes.get(name) else {
            return Err(permanent(format!(
                "the weights of {} lack the tensor {name} (shape {shape:?})",
                self.label
            )));
        };
        if found != shape {
            return Err(permanent(format!(
                "the tensor {name} of {} has the shape {found:?}, but its config.json asks for {shape:?}",
                self.label
            )));
        }
        let tensor = match &self.source {
            Source::Mapped(mapped) => mapped.load(name),
            Source::Embedded(slice) => slice.load(name, &Device::Cpu),
            Source::Gguf(gguf) => return gguf.tensor(name, shape),
        }
        .map_err(|error| {
            permanent(format!(
                "the tensor {name} of {} can not be read: {}",
                self.label,
                classify::in_short(&error)
            ))
        })?;
        match tensor.dtype() {
            DType::F32 | DType::F16 | DType::BF16 | DType::F64 => Ok(tensor),
            other => Err(permanent(format!(
                "the tensor {name} of {} is stored as {other:?}, which is not supported; use the full-precision model",
                self.label
            ))),
        }
    }

    /// The rows of several tensors, one below the other, on the CPU.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn stacked(&self, parts: &[(String, usize)], inputs: &[usize]) -> Result<Tensor, Failure> {
        let tensors = parts
            .iter()
            .map(|(name, rows)| {
                let shape: Vec<usize> = std::iter::once(*rows)
                    .chain(inputs.iter().copied())
                    .collect();
                self.tensor(name, &shape)
            })
            .collect::<Result<Vec<_>, _>>()?;
        match tensors.as_slice() {
            [one] => Ok(one.clone()),
            many => Tensor::cat(many, 0).map_err(|error| {
                permanent(format!("the tensors {parts:?} can not be joined: {error}"))
            }),
        }
    }

    /// The rows of several matrices, one below the other, on the CPU, as they
    /// are stored: neighbours of one type are one.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn rows(&self, parts: &[(String, usize)], inputs: usize) -> Result<Vec<Rows<'_>>, Failure> {
        let Source::Gguf(gguf) = &self.source else {
            return Ok(vec![Rows::Floats(self.stacked(parts, &[inputs])?)]);
        };
        let mut all: Vec<Rows<'_>> = Vec::new();
        for (name, rows) in parts {
            let next = gguf.rows(name, *rows, inputs)?;
            let joined = match (all.pop(), next) {
                (None, next) => vec![next],
                (Some(Rows::Blocks(last)), Rows::Blocks(next)) if last.kind() == next.kind() => {
                    vec![Rows::Blocks(Blocks::followed_by(last, &next))]
                }
                (Some(Rows::Floats(last)), Rows::Floats(next)) => {
                    let join = || Tensor::cat(&[&last.to_dtype(next.dtype())?, &next], 0);
                    let both = join().map_err(|error| {
                        permanent(format!("the tensor {name} can not be joined: {error}"))
                    })?;
                    vec![Rows::Floats(both)]
                }
                (Some(last), next) => vec![last, next],
            };
            all.extend(joined);
        }
        Ok(all)
    }

    /// Gives back the memory that reading these tensors has filled, once they
    /// were copied: they stay in their file.
    pub fn forget(&self, parts: &[(String, usize)]) {
        for (name, _) in parts {
            match &self.source {
                Source::Mapped(mapped) => mapped.forget(name),
                Source::Gguf(gguf) => gguf.forget(name),
                Source::Embedded(_) => {}
            }
        }
    }

    /// A table of floats that rows are looked up in where it lies; `None` when
    /// it does not lie in a file of such tensors.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn float_table(&self, name: &str, shape: &[usize]) -> Result<Option<FloatTable>, Failure> {
        let (Source::Mapped(mapped), Some(dtype)) = (&self.source, self.dtype(name)) else {
            return Ok(None);
        };
        // Says what is wrong with it.
        if self.shapes.get(name).map(Vec::as_slice) != Some(shape) {
            self.tensor(name, shape)?;
        }
        Ok(Some(FloatTable {
            mapped: Arc::clone(mapped),
            name: name.to_owned(),
            dtype,
            touched: AtomicUsize::new(0),
        }))
    }

    /// A quantised table that rows are looked up in where it lies; `None` when
    /// it is stored as floats.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn block_table(&self, name: &str, shape: &[usize]) -> Result<Option<BlockTable>, Failure> {
        match &self.source {
            Source::Gguf(gguf) => gguf.block_table(name, shape),
            _ => Ok(None),
        }
    }
}

/// An embedding table that stays in its file.
pub struct FloatTable {
    mapped: Arc<MappedTensors>,
    name: String,
    dtype: DType,
    /// Rows that were looked up since the table was let go of.
    touched: AtomicUsize,
}

/// A look-up maps the pages around its row too (64 kB on Linux), which over
/// many tokens is the whole table: it is let go of after so many rows.
const MOST_TOUCHED: usize = 256;

impl FloatTable {
    /// The type of the floats.
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// The rows of these tokens, `[tokens, hidden]` on the CPU.
    ///
    /// # Errors
    /// When there is no room.
    pub fn rows(&self, tokens: &[u32], hidden: usize) -> candle_core::Result<Tensor> {
        let table = self.mapped.bytes(&self.name);
        let size = hidden * self.dtype.size_in_bytes();
        let mut bytes = Vec::with_capacity(tokens.len() * size);
        for token in tokens {
            let start = *token as usize * size;
            bytes.extend_from_slice(&table[start..start + size]);
        }
        let touched = self.touched.fetch_add(tokens.len(), Ordering::Relaxed) + tokens.len();
        if touched >= MOST_TOUCHED {
            self.touched.store(0, Ordering::Relaxed);
            self.mapped.forget(&self.name);
        }
        Tensor::from_raw_buffer(&bytes, self.dtype, &[tokens.len(), hidden], &Device::Cpu)
    }
}

fn permanent(message: String) -> Failure {
    Failure::new(FailureClass::Permanent, message)
}
