use super::encoders::base_of;
use crate::{
    domain::{Failure, FailureClass, embedding_model},
    hub,
    retrieval::TokenBorders,
};
use sha2::{Digest, Sha256};
use std::{fmt::Display, ops::Range, path::PathBuf, sync::Arc};
use tokenizers::Tokenizer;

/// The tokens of an embedding model, from its `tokenizer.json`.
struct ModelTokens {
    tokenizer: Tokenizer,
    /// Hash of the tokenizer.
    identity: String,
}

impl TokenBorders for ModelTokens {
    fn borders(&self, text: &str) -> Vec<Range<usize>> {
        // The tokenizers of embedding models take every text; one that did not
        // would leave the document out as if it were empty.
        let Ok(encoding) = self.tokenizer.encode(text, false) else {
            return Vec::new();
        };
        let offsets = encoding.get_offsets().iter();
        offsets
            .filter(|(start, end)| start < end)
            .filter(|(start, end)| text.is_char_boundary(*start) && text.is_char_boundary(*end))
            .map(|(start, end)| *start..*end)
            .collect()
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}

/// The tokens of the embedding model of a name that studies use. Its files are
/// here already: it was asked for its identity before.
///
/// # Errors
/// When the model has no tokenizer that can be read.
pub fn tokens(model: &str, bases: &[PathBuf]) -> Result<Arc<dyn TokenBorders>, Failure> {
    let failed = |why: &dyn Display| {
        Failure::new(
            FailureClass::Permanent,
            format!("the tokens of {model}: {why}"),
        )
    };
    let spec = embedding_model(model).map_err(|error| failed(&error))?;
    let base = base_of(&spec, bases);
    let files = hub::locate(&spec, base.as_deref()).map_err(|error| failed(&error))?;
    let source = files
        .tokenizer
        .ok_or_else(|| failed(&"it has no tokenizer.json"))?;
    let bytes = source.read().map_err(|error| failed(&error))?;
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| failed(&error))?;
    // Whole documents are measured, not what the model would see of them.
    tokenizer
        .with_truncation(None)
        .map_err(|error| failed(&error))?
        .with_padding(None);
    let hash: String = Sha256::digest(&bytes)[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Arc::new(ModelTokens {
        tokenizer,
        identity: format!("tokenizer {hash}"),
    }))
}
