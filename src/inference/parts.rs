use super::{
    config::ModelConfig,
    gguf::{self, GgufFile},
    text::TextModel,
    weights::Weights,
};
use crate::{
    domain::{Failure, Quantization},
    hub::{ModelFiles, WeightFiles},
};
use std::{path::Path, sync::Arc};

/// What is read of a model before a device is opened.
pub struct Parts {
    /// What kind of decoder it is.
    pub config: ModelConfig,
    /// Tokenizer, template, end tokens.
    pub text: TextModel,
    /// The tensors.
    pub weights: Weights,
}

impl Parts {
    /// Reads what a model's files say.
    ///
    /// # Errors
    /// One sentence (class `permanent`) that names the file, key or tensor.
    pub fn read(files: &ModelFiles, quantization: Quantization) -> Result<Self, Failure> {
        let label = &files.label;
        match &files.weights {
            WeightFiles::Gguf(path) => Self::of_gguf(label, path, quantization),
            _ => Self::of_directory(label, files),
        }
    }

    fn of_directory(label: &str, files: &ModelFiles) -> Result<Self, Failure> {
        let config = ModelConfig::of_files(files)?;
        let text = TextModel::load(files, &config.eos, config.vocab)?;
        let weights = Weights::open(label, &files.weights)?;
        Ok(Self {
            config,
            text,
            weights,
        })
    }

    fn of_gguf(label: &str, path: &Path, quantization: Quantization) -> Result<Self, Failure> {
        let file = Arc::new(GgufFile::open(label, path)?);
        if quantization != Quantization::None {
            return Err(file.permanent(&format!(
                "is quantised as it is, so {quantization} does not apply; leave the quantization out"
            )));
        }
        let config = ModelConfig::of_gguf(&file)?;
        let text = TextModel::of_gguf(label, gguf::text(&file)?, config.vocab)?;
        let weights = Weights::of_gguf(file, &config);
        Ok(Self {
            config,
            text,
            weights,
        })
    }
}
