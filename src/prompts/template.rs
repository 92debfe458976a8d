/// Puts values into a template's `{placeholders}`, in one pass: what a value
/// brings along is never looked at again, so a question that contains
/// `{context}` stays a question. Braces around other words stay as they are,
/// so that a template can hold JSON.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> Filled {
    let mut context = Vec::new();
    let mut filled = String::with_capacity(
        template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>(),
    );
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        let after = &rest[open + 1..];
        let found = after.find('}').and_then(|close| {
            let (_, value) = values.iter().find(|(name, _)| *name == &after[..close])?;
            Some((value, close))
        });
        match found {
            Some((value, close)) => {
                if &after[..close] == "context" {
                    context.push(filled.len());
                }
                filled.push_str(value);
                rest = &after[close + 1..];
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    Filled {
        text: filled,
        context,
    }
}

/// A template with its values in it.
pub(super) struct Filled {
    pub text: String,
    /// Where the value of `{context}` begins, in bytes, each time.
    pub context: Vec<usize>,
}
