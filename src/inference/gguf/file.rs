use super::{
    super::{mapped, quantized::BlockKind},
    header::Header,
};
use crate::domain::{Failure, FailureClass};
use candle_core::quantized::{GgmlDType, gguf_file::Value};
use memmap2::Mmap;
use std::{fs::File, ops::Range, path::Path};

/// A GGUF file, mapped into memory: its keys are read, its tensors are where
/// they lie.
pub struct GgufFile {
    label: String,
    map: Mmap,
    header: Header,
}

/// Where a tensor lies in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The type of its blocks.
    pub kind: GgmlDType,
    /// Its shape, the widest stride first: `[rows, inputs]` for a matrix.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub bytes: Range<usize>,
}

impl GgufFile {
    /// Maps a file and checks that every tensor is whole.
    ///
    /// # Errors
    /// One sentence (class `permanent`) with the file's name, and the key or
    /// tensor that is wrong.
    pub fn open(label: &str, path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: std::io::Error| {
            Failure::new(
                FailureClass::Permanent,
                format!("{label} can not be read: {error}"),
            )
        };
        let handle = File::open(path).map_err(unreadable)?;
        // SAFETY: a mapped file must not change while it is used; model files
        // are written once and replaced, not changed.
        let map = unsafe { Mmap::map(&handle) }.map_err(unreadable)?;
        let header = Header::read(&map).map_err(|problem| {
            let message = format!("{label} can not be used: {problem}");
            Failure::new(FailureClass::Permanent, message)
        })?;
        let file = Self {
            label: label.to_owned(),
            map,
            header,
        };
        if let Some(parts) = file.number("split.count")?
            && parts > 1
        {
            return Err(file.permanent(&format!(
                "is one of {parts} parts (split.count); join them with llama-gguf-split --merge"
            )));
        }
        let mut names: Vec<&String> = file.header.tensors.keys().collect();
        names.sort();
        for name in names {
            file.stretch(name)?;
        }
        Ok(file)
    }

    /// The model as the study names it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// A failure of this file: `what` follows its name.
    pub fn permanent(&self, what: &str) -> Failure {
        Failure::new(FailureClass::Permanent, format!("{} {what}", self.label))
    }

    /// Bytes that the weights take in memory: blocks in the order that the
    /// kernels want, floats as f32 on the processor.
    ///
    /// # Errors
    /// As [`GgufFile::stretch`].
    pub fn bytes_in_memory(&self, on_cpu: bool) -> Result<u64, Failure> {
        let mut bytes = 0;
        for name in self.header.tensors.keys() {
            let stretch = self.stretch(name)?;
            let length = stretch.bytes.len() as u64;
            let is_head = name == "token_embd.weight" && self.has_tensor("output.weight");
            bytes += match stretch.kind {
                GgmlDType::F32 => length,
                GgmlDType::F16 | GgmlDType::BF16 if on_cpu => 2 * length,
                GgmlDType::F16 | GgmlDType::BF16 => length,
                // A table that is only looked up in stays in the file.
                _ if is_head => 0,
                // The kernels' own order takes a few bits more for its scales.
                kind if on_cpu && BlockKind::of(kind).is_some() => length + length / 16,
                // candle keeps a copy in the order that its kernels want.
                _ if on_cpu => 2 * length + length / 4,
                _ => length,
            };
        }
        Ok(bytes)
    }

    /// Whether some weights are not floats.
    ///
    /// # Errors
    /// As [`GgufFile::stretch`].
    pub fn is_quantised(&self) -> Result<bool, Failure> {
        for name in self.header.tensors.keys() {
            let kind = self.stretch(name)?.kind;
            if !matches!(kind, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether there is such a tensor.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.header.tensors.contains_key(name)
    }

    /// Where a tensor lies.
    ///
    /// # Errors
    /// One sentence with its name when it is missing or the file ends before
    /// it does.
    pub fn stretch(&self, name: &str) -> Result<Stretch, Failure> {
        let Some(info) = self.header.tensors.get(name) else {
            return Err(self.permanent(&format!("lacks the tensor {name}")));
        };
        let kind = info.kind;
        let shape = info.shape.clone();
        let (block, size) = (kind.block_size(), kind.type_size());
        let inputs = shape.last().copied().unwrap_or(0);
        if inputs == 0 || !inputs.is_multiple_of(block) {
            return Err(self.permanent(&format!(
                "is damaged: the tensor {name} of shape {shape:?} can not be stored as {}",
                kind_name(kind)
            )));
        }
        let length = shape
            .iter()
            .try_fold(1_u64, |all, side| all.checked_mul(*side as u64))
            .and_then(|weights| (weights / block as u64).checked_mul(size as u64));
        let start = self.header.data.checked_add(info.offset);
        let end = length.and_then(|length| start?.checked_add(length));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(self.permanent(&format!(
                "is damaged: the tensor {name} claims the shape {shape:?}"
            )));
        };
        if end > self.map.len() as u64 {
            return Err(self.permanent(&format!(
                "is torn: the tensor {name} ends at byte {end}, but the file has {}; fetch it again",
                self.map.len()
            )));
        }
        // Blocks are read where they lie.
        if !start.is_multiple_of(4) {
            return Err(self.permanent(&format!(
                "is damaged: the tensor {name} begins at byte {start}, which is no multiple of 4"
            )));
        }
        Ok(Stretch {
            kind,
            shape,
            bytes: start as usize..end as usize,
        })
    }

    /// The bytes of a stretch of this file.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.map[range]
    }

    /// Gives back the memory that reading a stretch has filled.
    pub fn forget(&self, range: Range<usize>) {
        mapped::forget(&self.map, range);
    }

    /// A list.
    pub fn list(&self, key: &str) -> Option<&[Value]> {
        match self.header.keys.get(key) {
            Some(Value::Array(values)) => Some(values),
            _ => None,
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// When the key is missing or holds something else.
    pub fn texts(&self, key: &str) -> Result<Vec<&str>, Failure> {
        let texts = self.list(key).and_then(|values| {
            values
                .iter()
                .map(|value| match value {
                    Value::String(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()
        });
        texts.ok_or_else(|| self.permanent(&format!("has no list of texts {key}")))
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.header.keys.get(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// One sentence with the key.
    pub fn need_text(&self, key: &str) -> Result<&str, Failure> {
        self.text(key)
            .ok_or_else(|| self.permanent(&format!("has no key {key}")))
    }

    /// A truth value.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.header.keys.get(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// A whole number; one per layer counts as one when all are equal.
    ///
    /// # Errors
    /// One sentence when the key holds something else.
    pub fn number(&self, key: &str) -> Result<Option<usize>, Failure> {
        let Some(value) = self.header.keys.get(key) else {
            return Ok(None);
        };
        let one = |value: &Value| whole(value).and_then(|number| usize::try_from(number).ok());
        let number = match value {
            Value::Array(values) => {
                let mut all = values.iter().map(one);
                let first = all.next().flatten();
                if !all.all(|next| next == first) {
                    return Err(self.permanent(&format!(
                        "has a {key} that differs by layer, which is not supported"
                    )));
                }
                first
            }
            value => one(value),
        };
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.permanent(&format!("has a {key} that is no whole number"))),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// One sentence when the key holds something else.
    pub fn real(&self, key: &str) -> Result<Option<f64>, Failure> {
        let Some(value) = self.header.keys.get(key) else {
            return Ok(None);
        };
        match value {
            Value::F32(number) => Ok(Some(f64::from(*number))),
            Value::F64(number) => Ok(Some(*number)),
            value => match whole(value) {
                Some(number) => Ok(Some(number as f64)),
                None => Err(self.permanent(&format!("has a {key} that is no number"))),
            },
        }
    }
}

/// A whole number of any width.
pub fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::U8(n) => Some(u64::from(*n)),
        Value::U16(n) => Some(u64::from(*n)),
        Value::U32(n) => Some(u64::from(*n)),
        Value::U64(n) => Some(*n),
        Value::I8(n) => u64::try_from(*n).ok(),
        Value::I16(n) => u64::try_from(*n).ok(),
        Value::I32(n) => u64::try_from(*n).ok(),
        Value::I64(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

/// How llama.cpp writes a type.
pub const fn kind_name(kind: GgmlDType) -> &'static str {
    match kind {
        GgmlDType::F32 => "F32",
        GgmlDType::F16 => "F16",
        GgmlDType::BF16 => "BF16",
        GgmlDType::Q4_0 => "Q4_0",
        GgmlDType::Q4_1 => "Q4_1",
        GgmlDType::Q5_0 => "Q5_0",
        GgmlDType::Q5_1 => "Q5_1",
        GgmlDType::Q8_0 => "Q8_0",
        GgmlDType::Q8_1 => "Q8_1",
        GgmlDType::Q2K => "Q2_K",
        GgmlDType::Q3K => "Q3_K",
        GgmlDType::Q4K => "Q4_K",
        GgmlDType::Q5K => "Q5_K",
        GgmlDType::Q6K => "Q6_K",
        GgmlDType::Q8K => "Q8_K",
    }
}
