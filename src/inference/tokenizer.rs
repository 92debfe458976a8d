//! A model's `tokenizer.json`, which is somebody else's file.

use std::panic::catch_unwind;
use tokenizers::Tokenizer;

/// Understands a `tokenizer.json`.
///
/// # Errors
/// What is wrong with it. The tokenizers crate panics over some of that, a
/// file torn inside its decoder for one.
pub fn parse(bytes: &[u8]) -> Result<Tokenizer, String> {
    match catch_unwind(|| Tokenizer::from_bytes(bytes)) {
        Ok(parsed) => parsed.map_err(|error| error.to_string()),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(said.unwrap_or("it is damaged").to_owned())
        }
    }
}
