use super::template::{Filled, fill};
use crate::domain::{Passage, Prompt};

/// A prompt as it goes to the model, before any chat template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The system message, if the prompt has one.
    pub system: Option<String>,
    /// The user message, or the plain text for models without a template.
    pub text: String,
    /// The bytes of the text that each passage takes, with what parts it from
    /// the one before. None where the text can not be cut.
    pub passages: Vec<(usize, usize)>,
}

impl Rendered {
    /// A filled text whose context holds passages at `ranges`. A context that
    /// stands in a text twice is never cut.
    pub(super) fn new(system: Option<String>, filled: Filled, ranges: &[(usize, usize)]) -> Self {
        let passages = match filled.context[..] {
            [start] => ranges
                .iter()
                .map(|(from, to)| (start + from, start + to))
                .collect(),
            _ => Vec::new(),
        };
        Self {
            system,
            text: filled.text,
            passages,
        }
    }
}

/// Fills a prompt in. Without passages the prompt's direct form is taken.
/// Text of questions and passages is never searched for placeholders.
pub fn render(prompt: &Prompt, question: &str, passages: &[Passage]) -> Rendered {
    let question = question.trim();
    let examples = render_examples(prompt);
    let (context, ranges) = render_context(prompt, passages);
    let (template, using_context) = if passages.is_empty() {
        (&prompt.direct, "")
    } else {
        (&prompt.with_context, ", using the context")
    };
    let system = prompt
        .system
        .as_deref()
        .map(|system| fill(system, &[("using_context", using_context)]).text);
    let filled = fill(
        template,
        &[
            ("question", question),
            ("context", &context),
            ("examples", &examples),
        ],
    );
    Rendered::new(system, filled, &ranges)
}

/// Every example followed by a blank line.
fn render_examples(prompt: &Prompt) -> String {
    let Some(template) = &prompt.example else {
        return String::new();
    };
    let mut examples = String::new();
    for example in &prompt.examples {
        let filled = fill(
            template,
            &[
                ("question", example.question.trim()),
                ("answer", example.answer.trim()),
            ],
        );
        examples.push_str(&filled.text);
        examples.push_str("\n\n");
    }
    examples
}

/// The passages one under the other, and the bytes of each with the line
/// break before it.
pub(super) fn render_context(
    prompt: &Prompt,
    passages: &[Passage],
) -> (String, Vec<(usize, usize)>) {
    let mut context = String::new();
    let mut ranges = Vec::with_capacity(passages.len());
    for (i, passage) in passages.iter().enumerate() {
        let start = context.len();
        if i > 0 {
            context.push('\n');
        }
        let filled = fill(
            &prompt.passage,
            &[
                ("rank", &(i + 1).to_string()),
                ("title", &heading(passage)),
                ("text", passage.text.trim()),
            ],
        );
        context.push_str(&filled.text);
        ranges.push((start, context.len()));
    }
    (context, ranges)
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
