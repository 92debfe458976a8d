//! Prompts that do not fit lose passages, the last of the ranking first.

use crate::domain::{Failure, GenerationRequest};

/// The tokens of a request's prompt with as many of its passages as fit into
/// `room` tokens, and how many were left out. A prompt without passages, or
/// one that does not fit without them either, comes as it is.
///
/// # Errors
/// As `encode`: why this prompt can not be used.
pub(super) fn fit(
    request: &GenerationRequest,
    room: usize,
    encode: impl Fn(&GenerationRequest) -> Result<Vec<u32>, Failure>,
) -> Result<(Vec<u32>, usize), Failure> {
    let tokens = encode(request)?;
    let all = request.passages.len();
    if tokens.len() <= room || all == 0 {
        return Ok((tokens, 0));
    }
    // Fewer passages never take more room, so halving finds the border.
    let (mut too_few, mut enough) = (0, all);
    let mut best = encode(&request.without_last(all))?;
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        let tokens = encode(&request.without_last(middle))?;
        if tokens.len() <= room {
            enough = middle;
            best = tokens;
        } else {
            too_few = middle;
        }
    }
    Ok((best, enough))
}

/// Tokens that a prompt may have in a window of `context`: an answer needs
/// room too, of which a long one may have half.
pub(super) fn room(context: usize, new_tokens: usize) -> usize {
    context - new_tokens.min(context / 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A prompt of `passages` letters around which stand two others.
    fn request(passages: usize) -> GenerationRequest {
        GenerationRequest {
            prompt: format!("<{}>", "p".repeat(passages)),
            passages: (1..=passages).map(|i| (i, i + 1)).collect(),
            ..GenerationRequest::default()
        }
    }

    fn letters(request: &GenerationRequest) -> Result<Vec<u32>, Failure> {
        Ok(request.prompt.chars().map(u32::from).collect())
    }

    #[test]
    fn exactly_the_passages_that_do_not_fit_are_left_out() {
        for passages in 0..12 {
            for room in 2..16 {
                let (tokens, cut) = fit(&request(passages), room, letters).unwrap();
                assert_eq!(
                    tokens.len(),
                    (passages + 2).min(room),
                    "{passages} in {room}"
                );
                assert_eq!(cut, passages - (tokens.len() - 2));
            }
        }
        // What is too long without passages too is not made to fit.
        let (tokens, cut) = fit(&request(3), 1, letters).unwrap();
        assert_eq!((tokens.len(), cut), (2, 3));
        let (tokens, cut) = fit(&request(0), 1, letters).unwrap();
        assert_eq!((tokens.len(), cut), (2, 0));
    }
}
