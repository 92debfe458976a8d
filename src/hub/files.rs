use super::HubError;
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

/// A small file of a model, on disk or inside the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// A file on disk.
    Path(PathBuf),
    /// Bytes that were compiled in.
    Embedded(&'static [u8]),
}

impl FileSource {
    /// The whole content.
    ///
    /// # Errors
    /// When the file can not be read.
    pub fn read(&self) -> Result<Cow<'static, [u8]>, HubError> {
        match self {
            Self::Path(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(Cow::Owned(bytes)),
                Err(source) => Err(HubError::Unreadable {
                    path: path.clone(),
                    source,
                }),
            },
            Self::Embedded(bytes) => Ok(Cow::Borrowed(bytes)),
        }
    }
}

/// The weights of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    /// One safetensors file, or its shards in the order of their names.
    Safetensors(Vec<PathBuf>),
    /// A safetensors file that was compiled in.
    Embedded(&'static [u8]),
    /// A GGUF file, which holds configuration and tokenizer too.
    Gguf(PathBuf),
}

impl WeightFiles {
    /// Their size; `None` when a file has gone meanwhile.
    pub fn bytes(&self) -> Option<u64> {
        let size = |path: &Path| std::fs::metadata(path).ok().map(|meta| meta.len());
        match self {
            Self::Safetensors(paths) => paths.iter().map(|path| size(path)).sum(),
            Self::Embedded(bytes) => Some(bytes.len() as u64),
            Self::Gguf(path) => size(path),
        }
    }
}

/// The small files that sentence-transformers models bring beside the usual
/// ones, each where it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentenceFiles {
    /// `modules.json`: from texts to vectors in steps.
    pub modules: Option<FileSource>,
    /// `1_Pooling/config.json`.
    pub pooling: Option<FileSource>,
    /// `sentence_bert_config.json`: how texts are cut.
    pub transformer: Option<FileSource>,
    /// `config_sentence_transformers.json`: prompts by name.
    pub prompts: Option<FileSource>,
}

/// Everything that is needed to load a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// The model as the study names it, for messages.
    pub label: String,
    /// `config.json`; `None` only for GGUF.
    pub config: Option<FileSource>,
    /// `tokenizer.json`; `None` only for GGUF.
    pub tokenizer: Option<FileSource>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<FileSource>,
    /// `chat_template.jinja`, where it is a file of its own.
    pub chat_template: Option<FileSource>,
    /// `generation_config.json`.
    pub generation_config: Option<FileSource>,
    /// What an embedding model says of itself.
    pub sentence: SentenceFiles,
    /// The weights.
    pub weights: WeightFiles,
    /// The commit on the hub, where the model is from there.
    pub revision: Option<String>,
}

impl ModelFiles {
    pub(super) const fn of_gguf(label: String, path: PathBuf) -> Self {
        Self {
            label,
            config: None,
            tokenizer: None,
            tokenizer_config: None,
            chat_template: None,
            generation_config: None,
            sentence: SentenceFiles {
                modules: None,
                pooling: None,
                transformer: None,
                prompts: None,
            },
            weights: WeightFiles::Gguf(path),
            revision: None,
        }
    }
}
