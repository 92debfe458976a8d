use super::{Cache, IndexError};
use crate::domain::{Embedder, Failure, FailureClass, TextRole};
use std::collections::HashMap;

/// The vectors of texts, from the cache where they are there. Equal texts are
/// embedded once.
pub(super) fn embed(
    embedder: &mut dyn Embedder,
    texts: &[&str],
    role: TextRole,
    cache: Option<&Cache>,
) -> Result<Vec<Vec<f32>>, IndexError> {
    let identity = embedder.identity().to_owned();
    let mut vectors: Vec<Option<Vec<f32>>> = match cache {
        Some(cache) => cache.vectors(&identity, role, texts, embedder.dimension()),
        None => vec![None; texts.len()],
    };
    let mut missing: Vec<&str> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (text, vector) in texts.iter().zip(&vectors) {
        if vector.is_none() {
            places.entry(text).or_insert_with(|| {
                missing.push(text);
                missing.len() - 1
            });
        }
    }
    if missing.is_empty() {
        return Ok(vectors.into_iter().flatten().collect());
    }
    let made = embedder
        .embed(&missing, role)
        .map_err(IndexError::Encoder)?;
    if made.len() != missing.len() {
        return Err(IndexError::Encoder(Failure::new(
            FailureClass::Permanent,
            format!(
                "the embedding model gave {} vectors for {} texts",
                made.len(),
                missing.len()
            ),
        )));
    }
    if let Some(cache) = cache {
        cache.keep_vectors(&identity, role, &missing, &made);
    }
    for (text, vector) in texts.iter().zip(&mut vectors) {
        if vector.is_none() {
            vector.clone_from(&places.get(text).map(|place| made[*place].clone()));
        }
    }
    Ok(vectors.into_iter().flatten().collect())
}
