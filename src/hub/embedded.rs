use super::{FileSource, HubError, ModelFiles, SentenceFiles, WeightFiles};
use crate::domain::ModelSpec;

macro_rules! reader {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/conf/models/reader/",
            $name
        ))
    };
}

/// The files of `embedded:reader`, which need nothing on disk.
pub fn files(model: &ModelSpec) -> Result<ModelFiles, HubError> {
    if model.name != "reader" {
        return Err(HubError::NotEmbedded {
            model: model.to_string(),
        });
    }
    Ok(ModelFiles {
        label: model.to_string(),
        config: Some(FileSource::Embedded(reader!("config.json"))),
        tokenizer: Some(FileSource::Embedded(reader!("tokenizer.json"))),
        tokenizer_config: Some(FileSource::Embedded(reader!("tokenizer_config.json"))),
        chat_template: None,
        generation_config: Some(FileSource::Embedded(reader!("generation_config.json"))),
        sentence: SentenceFiles::default(),
        weights: WeightFiles::Embedded(reader!("model.safetensors")),
        revision: None,
    })
}
