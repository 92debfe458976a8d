//! A model's `tokenizer.json`, which is somebody else's file: the tokenizers
//! crate panics over some of what may stand in one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use tokenizers::{EncodeInput, Encoding, Tokenizer};

/// Understands a `tokenizer.json`.
///
/// # Errors
/// What is wrong with it; it may be torn inside its decoder, for one.
pub fn parse(bytes: &[u8]) -> Result<Tokenizer, String> {
    guarded(|| Tokenizer::from_bytes(bytes))
}

/// Turns a text, or a pair of texts, into tokens.
///
/// # Errors
/// Why not; what comes after the tokens may be told by names that are not
/// there, for one.
pub fn encode<'s>(
    tokenizer: &Tokenizer,
    text: impl Into<EncodeInput<'s>>,
    add_special: bool,
) -> Result<Encoding, String> {
    let text = text.into();
    guarded(|| tokenizer.encode_fast(text, add_special))
}

fn guarded<T>(task: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    // A tokenizer is only read; what it caches is behind locks of its own.
    match catch_unwind(AssertUnwindSafe(task)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(said.unwrap_or("it is damaged").to_owned())
        }
    }
}
