use crate::domain::{Failure, FailureClass};
use candle_core::{Device, Tensor};
use std::{collections::HashMap, path::Path};

/// Writes logits to a safetensors file: `logits` `[prompts, vocab]` in f32,
/// NaN where a row is missing.
///
/// # Errors
/// One sentence with the file's name (class `environment`).
pub fn save_logits(path: &Path, rows: &[Option<Vec<f32>>], vocab: usize) -> Result<(), Failure> {
    let mut values = Vec::with_capacity(rows.len() * vocab);
    for row in rows {
        match row {
            Some(row) => values.extend_from_slice(row),
            None => values.resize(values.len() + vocab, f32::NAN),
        }
    }
    let save = || {
        let tensor = Tensor::from_vec(values, (rows.len(), vocab), &Device::Cpu)?;
        let tensors = HashMap::from([("logits".to_owned(), tensor)]);
        candle_core::safetensors::save(&tensors, path)
    };
    save().map_err(|error| {
        Failure::new(
            FailureClass::Environment,
            format!("{} can not be written: {error}", path.display()),
        )
    })
}
