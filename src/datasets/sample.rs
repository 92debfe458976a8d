use crate::domain::Question;
use sha2::{Digest, Sha256};

/// Keeps `number` questions (or all) in the order of their lots, and counts
/// them anew. A lot is drawn from the seed and the question's text: the order
/// of the file does not matter, and a larger number takes the same questions
/// first. Equal questions stay in the order of the file.
pub(super) fn take(questions: &mut Vec<Question>, number: Option<usize>, seed: u64) {
    questions.sort_by_cached_key(|question| lot(seed, &question.question));
    questions.truncate(number.unwrap_or(usize::MAX));
    for (idx, question) in questions.iter_mut().enumerate() {
        question.idx = idx;
    }
}

fn lot(seed: u64, question: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(question.as_bytes());
    hash.finalize().into()
}
