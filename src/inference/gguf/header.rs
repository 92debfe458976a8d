//! The header of a GGUF file. A file is somebody else's: every number in it
//! is checked against the file before anything is allocated for it.

use super::file::whole;
use candle_core::quantized::{GgmlDType, gguf_file::Value};
use std::collections::{HashMap, hash_map::Entry};

/// A header is shorter: the longest known are some tens of megabytes.
const LONGEST: usize = 512 << 20;

/// A text is shorter: the longest are whole tokenizers.
const LONGEST_TEXT: usize = 128 << 20;

/// There are fewer values, those of lists counted one by one: the largest
/// vocabularies have half a million entries. Each takes some 24 bytes.
const MOST_VALUES: usize = 1 << 24;

/// There are fewer tensors: a layer has a dozen.
const MOST_TENSORS: usize = 1 << 20;

/// Dimensions of a tensor, as in ggml.h.
const MOST_DIMENSIONS: usize = 4;

/// Lists in lists; no known key holds any.
const DEEPEST: usize = 8;

/// Where tensors begin, unless the file says otherwise, in bytes.
const ALIGNMENT: u64 = 32;

/// What stands before the tensors.
pub struct Header {
    pub keys: HashMap<String, Value>,
    pub tensors: HashMap<String, TensorEntry>,
    /// Where the tensors begin, in bytes from the start of the file; it may
    /// lie behind its end.
    pub data: u64,
}

/// A tensor as the header names it; nothing says that it is there.
pub struct TensorEntry {
    pub kind: GgmlDType,
    /// The widest stride first.
    pub shape: Vec<usize>,
    /// Bytes from the start of the tensors.
    pub offset: u64,
}

impl Header {
    /// Reads the header of a whole file.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence about "it".
    pub fn read(file: &[u8]) -> Result<Self, String> {
        let mut reader = Reader {
            bytes: &file[..file.len().min(LONGEST)],
            at: 0,
            values: 0,
            narrow: false,
        };
        if reader.take(4).ok() != Some(b"GGUF") {
            return Err("it is no GGUF file".to_owned());
        }
        reader.header().map_err(|problem| match problem {
            Problem::Damaged(what) => {
                format!(
                    "its header is damaged or of an unknown version ({what}); fetch it again"
                )
            }
            Problem::Type(number) => format!(
                "it has tensors of the type {} (number {number}), which is not supported; take a file with Q8_0, Q6_K, Q5_K, Q4_K, Q4_0 or F16",
                name_of_type(number)
            ),
        })
    }
}

/// Why a header can not be read.
enum Problem {
    Damaged(String),
    /// A tensor's type has this number, and no kernel knows it.
    Type(u32),
}

type Read<T> = Result<T, Problem>;

fn damaged<T>(what: impl Into<String>) -> Read<T> {
    Err(Problem::Damaged(what.into()))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Values read so far.
    values: usize,
    /// Version 1 counts with 32 bits.
    narrow: bool,
}

impl<'a> Reader<'a> {
    fn header(&mut self) -> Read<Header> {
        let version = self.u32()?;
        if !(1..=3).contains(&version) {
            return damaged(format!("version {version}"));
        }
        self.narrow = version == 1;
        let tensor_count = self.count()?;
        let key_count = self.count()?;
        if tensor_count > MOST_TENSORS {
            return damaged(format!("{tensor_count} tensors"));
        }
        let mut keys = HashMap::new();
        for _ in 0..key_count {
            let key = self.text()?;
            let kind = self.u32()?;
            let value = self.value(kind, 0)?;
            match keys.entry(key) {
                Entry::Vacant(place) => place.insert(value),
                Entry::Occupied(there) => return damaged(format!("the key {} twice", there.key())),
            };
        }
        let mut tensors = HashMap::new();
        for _ in 0..tensor_count {
            let name = self.text()?;
            let entry = self.tensor(&name)?;
            match tensors.entry(name) {
                Entry::Vacant(place) => place.insert(entry),
                Entry::Occupied(there) => {
                    return damaged(format!("the tensor {} twice", there.key()));
                }
            };
        }
        let alignment = match keys.get("general.alignment") {
            None => ALIGNMENT,
            Some(value) => match whole(value).filter(|value| value.is_power_of_two()) {
                Some(alignment) => alignment,
                None => return damaged("general.alignment is no power of two"),
            },
        };
        let Some(data) = (self.at as u64).checked_next_multiple_of(alignment) else {
            return damaged(format!("general.alignment is {alignment}"));
        };
        Ok(Header {
            keys,
            tensors,
            data,
        })
    }

    fn tensor(&mut self, name: &str) -> Read<TensorEntry> {
        let dimensions = self.u32()? as usize;
        if dimensions > MOST_DIMENSIONS {
            return damaged(format!("the tensor {name} has {dimensions} dimensions"));
        }
        let mut shape = Vec::with_capacity(dimensions);
        for _ in 0..dimensions {
            let side = if self.narrow {
                u64::from(self.u32()?)
            } else {
                self.u64()?
            };
            match usize::try_from(side) {
                Ok(side) => shape.push(side),
                Err(_) => return damaged(format!("the tensor {name} has a side of {side}")),
            }
        }
        shape.reverse();
        let number = self.u32()?;
        let kind = type_of(number).ok_or(Problem::Type(number))?;
        let offset = self.u64()?;
        Ok(TensorEntry {
            kind,
            shape,
            offset,
        })
    }

    fn value(&mut self, kind: u32, depth: usize) -> Read<Value> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return damaged("more than 16 million values");
        }
        Ok(match kind {
            0 => Value::U8(self.number::<1>()?[0]),
            1 => Value::I8(i8::from_le_bytes(self.number()?)),
            2 => Value::U16(u16::from_le_bytes(self.number()?)),
            3 => Value::I16(i16::from_le_bytes(self.number()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.number()?)),
            6 => Value::F32(f32::from_le_bytes(self.number()?)),
            7 => match self.number::<1>()?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return damaged(format!("a truth value of {other}")),
            },
            8 => Value::String(self.text()?),
            9 => self.list(depth)?,
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.number()?)),
            12 => Value::F64(f64::from_le_bytes(self.number()?)),
            other => return damaged(format!("a value of the type {other}")),
        })
    }

    fn list(&mut self, depth: usize) -> Read<Value> {
        if depth == DEEPEST {
            return damaged("lists in lists in lists");
        }
        let kind = self.u32()?;
        let count = self.count()?;
        let mut values = Vec::with_capacity(count.min(MOST_VALUES - self.values));
        for _ in 0..count {
            values.push(self.value(kind, depth + 1)?);
        }
        Ok(Value::Array(values))
    }

    /// UTF-8 as a rule; some files end their texts with zeros, and some hold
    /// torn characters.
    fn text(&mut self) -> Read<String> {
        let length = self.length()?;
        if length > LONGEST_TEXT as u64 {
            return damaged(format!("a text of {length} bytes"));
        }
        let bytes = self.take(length as usize)?;
        let end = bytes.iter().rposition(|byte| *byte != 0);
        let bytes = &bytes[..end.map_or(0, |last| last + 1)];
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// How many of something follow; each takes a byte at least.
    fn count(&mut self) -> Read<usize> {
        let count = self.length()?;
        let left = self.bytes.len() - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left => Ok(count),
            _ => damaged(format!("{count} of something in {left} bytes")),
        }
    }

    fn length(&mut self) -> Read<u64> {
        if self.narrow {
            return Ok(u64::from(self.u32()?));
        }
        self.u64()
    }

    fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_le_bytes(self.number()?))
    }

    fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.number()?))
    }

    fn number<const BYTES: usize>(&mut self) -> Read<[u8; BYTES]> {
        let bytes = self.take(BYTES)?.first_chunk::<BYTES>();
        bytes.copied().map_or_else(|| damaged("it is torn"), Ok)
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let Some((bytes, _)) = self.bytes[self.at..].split_at_checked(count) else {
            return damaged("it ends too early");
        };
        self.at += count;
        Ok(bytes)
    }
}

/// Types are numbered in ggml.h.
const fn type_of(number: u32) -> Option<GgmlDType> {
    Some(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        9 => GgmlDType::Q8_1,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        15 => GgmlDType::Q8K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

/// The common ones of those that are not implemented.
const fn name_of_type(number: u32) -> &'static str {
    match number {
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => "an unknown type",
    }
}
