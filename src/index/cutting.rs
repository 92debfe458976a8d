use crate::{
    domain::{RetrieverKind, RetrieverSpec},
    retrieval::{Chunking, ChunkingError, TokenBorders},
};
use serde_json::Value;
use std::sync::Arc;

/// Of the parents of hierarchical retrievers, in characters.
const PARENT_SIZE: usize = 1_024;
/// Of the children where the study names no size.
const CHILD_SIZE: usize = 256;

/// How a corpus becomes passages, and what of them is searched.
#[derive(Debug, Clone)]
pub(super) struct Cutting {
    /// Cuts documents into what is returned.
    pub passages: Chunking,
    /// Cuts passages into what is searched; without it they are searched
    /// themselves.
    pub children: Option<Chunking>,
}

impl Cutting {
    /// The cutting of a retriever. `tokens`: what a token is, where sizes are
    /// in tokens and the retriever has a model.
    pub fn of(
        spec: &RetrieverSpec,
        tokens: Option<Arc<dyn TokenBorders>>,
    ) -> Result<Self, ChunkingError> {
        let finish = |chunking: Chunking| match &tokens {
            Some(tokens) => chunking.with_tokens(Arc::clone(tokens)),
            None => chunking,
        };
        if spec.kind != RetrieverKind::Hierarchical {
            return Ok(Self {
                passages: finish(Chunking::of(spec)?),
                children: None,
            });
        }
        let option = |key: &str| spec.options.get(key).and_then(Value::as_u64);
        let option = |key: &str| option(key).map(|number| number as usize);
        let is_whole = spec.chunking == "none";
        let child_size = option("child_chunk_size")
            .or((spec.chunk_size > 0).then_some(spec.chunk_size))
            .unwrap_or(CHILD_SIZE);
        let child_overlap = option("child_overlap").unwrap_or(spec.chunk_overlap);
        let parents = match (is_whole, option("parent_chunk_size")) {
            (true, None) => Chunking::of(spec)?,
            (_, size) => {
                let size = size.unwrap_or(PARENT_SIZE);
                let overlap = option("parent_overlap").unwrap_or(0);
                if child_size > size {
                    return Err(ChunkingError::Children {
                        retriever: spec.name.clone(),
                        child: child_size,
                        parent: size,
                    });
                }
                Chunking::of(&sized(spec, size, overlap))?
            }
        };
        Ok(Self {
            passages: finish(parents),
            children: Some(finish(Chunking::of(&sized(
                spec,
                child_size,
                child_overlap,
            ))?)),
        })
    }

    /// What makes two cuttings equal.
    pub fn identity(&self) -> String {
        match &self.children {
            None => self.passages.identity(),
            Some(children) => format!("{} in {}", children.identity(), self.passages.identity()),
        }
    }
}

/// The retriever with other sizes; what is not cut is cut at borders.
fn sized(spec: &RetrieverSpec, size: usize, overlap: usize) -> RetrieverSpec {
    let chunking = match spec.chunking.as_str() {
        "none" => "recursive",
        other => other,
    };
    RetrieverSpec {
        chunking: chunking.to_owned(),
        chunk_size: size,
        chunk_overlap: overlap,
        ..spec.clone()
    }
}
