use super::template::fill;
use crate::domain::{Passage, Prompt};

/// A prompt as it goes to the model, before any chat template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The system message, if the prompt has one.
    pub system: Option<String>,
    /// The user message, or the plain text for models without a template.
    pub text: String,
}

/// Fills a prompt in. Without passages the prompt's direct form is taken.
/// Text of questions and passages is never searched for placeholders.
pub fn render(prompt: &Prompt, question: &str, passages: &[Passage]) -> Rendered {
    let question = question.trim();
    let examples = render_examples(prompt);
    let context = render_context(prompt, passages);
    let (template, using_context) = if passages.is_empty() {
        (&prompt.direct, "")
    } else {
        (&prompt.with_context, ", using the context")
    };
    Rendered {
        system: prompt
            .system
            .as_deref()
            .map(|system| fill(system, &[("using_context", using_context)])),
        text: fill(
            template,
            &[
                ("question", question),
                ("context", &context),
                ("examples", &examples),
            ],
        ),
    }
}

/// Every example followed by a blank line.
fn render_examples(prompt: &Prompt) -> String {
    let Some(template) = &prompt.example else {
        return String::new();
    };
    let mut examples = String::new();
    for example in &prompt.examples {
        examples.push_str(&fill(
            template,
            &[
                ("question", example.question.trim()),
                ("answer", example.answer.trim()),
            ],
        ));
        examples.push_str("\n\n");
    }
    examples
}

fn render_context(prompt: &Prompt, passages: &[Passage]) -> String {
    let passages: Vec<String> = passages
        .iter()
        .enumerate()
        .map(|(i, passage)| {
            fill(
                &prompt.passage,
                &[
                    ("rank", &(i + 1).to_string()),
                    ("title", &heading(passage)),
                    ("text", passage.text.trim()),
                ],
            )
        })
        .collect();
    passages.join("\n")
}

/// `Title: `, or nothing where the passage's first sentence names the title
/// anyway and the words would only be spent twice.
fn heading(passage: &Passage) -> String {
    let Some(title) = passage.title.as_deref().map(str::trim) else {
        return String::new();
    };
    let text = passage.text.trim_start();
    let first_sentence = text
        .find(". ")
        .or_else(|| text.find('\n'))
        .map_or(text, |end| &text[..end]);
    let bare = ["The ", "A ", "An "]
        .iter()
        .find_map(|article| title.strip_prefix(article))
        .unwrap_or(title);
    if title.is_empty() || names(first_sentence, bare) {
        String::new()
    } else {
        format!("{title}: ")
    }
}

/// Whether `sentence` holds `name` as whole words.
fn names(sentence: &str, name: &str) -> bool {
    let touches = |neighbour: Option<char>| neighbour.is_some_and(char::is_alphanumeric);
    sentence.match_indices(name).any(|(start, found)| {
        !touches(sentence[..start].chars().next_back())
            && !touches(sentence[start + found.len()..].chars().next())
    })
}
