//! `{words}` in the texts of a prompt that nothing is put in for.

use super::{
    diagnostic::nearest,
    fields::{At, list_words},
};

/// What is put into the text under each key of a prompt.
const KNOWN: [(&str, &[&str]); 5] = [
    ("system", &["using_context"]),
    ("direct", &["question", "examples", "context"]),
    ("with_context", &["context", "question", "examples"]),
    ("passage", &["text", "rank", "title"]),
    ("example", &["question", "answer"]),
];

/// Reports every `{word}` that goes to the model as it is: an error where it is
/// a slip of a placeholder, else a warning, for a text may hold JSON or LaTeX.
/// Returns the placeholders that were meant by slips.
pub(super) fn check(at: &At<'_>, text: &str, key: &str) -> Vec<&'static str> {
    let known = KNOWN.iter().find(|(name, _)| *name == key);
    let known = known.map_or(&[][..], |(_, known)| known);
    let mut meant = Vec::new();
    let mut said = Vec::new();
    for (word, is_inside) in words(text) {
        if known.contains(&word) || said.contains(&word) {
            continue;
        }
        said.push(word);
        if let Some(near) = nearest(word, known.iter().copied()) {
            at.error(
                format!("nothing is put in for {{{word}}}"),
                Some(format!("did you mean {{{near}}}?")),
            );
            meant.extend(known.iter().find(|known| **known == near));
        } else if !is_inside {
            let known: Vec<String> = known.iter().map(|word| format!("{{{word}}}")).collect();
            at.warning(
                format!("nothing is put in for {{{word}}}, the model reads it as it is"),
                Some(format!("what is put in here is {}", list_words(&known))),
            );
        }
    }
    meant
}

/// Every `{word}` that could be a placeholder, and whether it stands in
/// something else, as in `\\boxed{answer}` or `{{word}}`.
fn words(text: &str) -> impl Iterator<Item = (&str, bool)> {
    text.match_indices('{').filter_map(|(open, _)| {
        let after = &text[open + 1..];
        let word = &after[..after.find('}')?];
        let mut characters = word.chars();
        let is_word = characters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        let before = text[..open].chars().next_back();
        let is_inside = before.is_some_and(|c| c.is_alphanumeric() || c == '{');
        is_word.then_some((word, is_inside))
    })
}
