//! The operands of `*` and `~` in a tag of a chat template.
//!
//! The engine pays for the texts that these make, but not for lists: one that
//! is repeated takes no room, and a hundred million items when it is written.
//! So the operands go through a filter: `{{ a * b }}` is compiled as
//! `{{ a|FILTER * b|FILTER }}`.

/// A word, number, text or sign in a tag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    /// A name, a number or a text.
    Leaf,
    Open(u8),
    Close,
    Times,
    Tilde,
    Sign,
    Dot,
    Pipe,
    Other,
}

/// A place in the template, and what is to stand there.
pub type Insertion = (usize, String);

/// Filters that operands go through.
pub struct Filters {
    /// For those of `*`.
    pub factor: &'static str,
    /// For those of `~`.
    pub part: &'static str,
}

/// What to insert into the tag whose inner side is `from..to`. The engine
/// complains of tags that make no sense.
pub fn insertions(source: &str, from: usize, to: usize, filters: &Filters) -> Vec<Insertion> {
    let tokens = tokens(source.as_bytes(), from, to);
    let mut insertions: Vec<Insertion> = Vec::new();
    for (number, &(token, _)) in tokens.iter().enumerate() {
        let filter = match token {
            Token::Times => filters.factor,
            Token::Tilde => filters.part,
            _ => continue,
        };
        // What follows a bracket or a comma is the star of an argument.
        let Some((Token::Leaf | Token::Close, left)) = number.checked_sub(1).map(|at| tokens[at])
        else {
            continue;
        };
        insertions.push((left, format!("|{filter} ")));
        if let Some(right) = operand(&tokens, number + 1) {
            insertions.push((right, format!("|{filter} ")));
        }
    }
    insertions.sort();
    insertions.dedup();
    insertions
}

/// Where the operand ends whose first token has this number: behind its
/// attributes, calls and filters.
fn operand(tokens: &[(Token, usize)], first: usize) -> Option<usize> {
    let token = |at: usize| tokens.get(at).map(|&(token, _)| token);
    let mut at = first;
    while token(at) == Some(Token::Sign) {
        at += 1;
    }
    at = match token(at)? {
        Token::Leaf => at + 1,
        Token::Open(_) => closed(tokens, at)?,
        _ => return None,
    };
    loop {
        at = match (token(at), token(at + 1)) {
            (Some(Token::Dot | Token::Pipe), Some(Token::Leaf)) => at + 2,
            (Some(Token::Open(b'(' | b'[')), _) => closed(tokens, at)?,
            _ => break,
        };
    }
    Some(tokens[at - 1].1)
}

/// The number of the token behind the bracket that closes the one at `open`.
fn closed(tokens: &[(Token, usize)], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (number, (token, _)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Open(_) => depth += 1,
            Token::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(number + 1);
        }
    }
    None
}

/// The tokens of a tag, each with the place where it ends.
fn tokens(bytes: &[u8], from: usize, to: usize) -> Vec<(Token, usize)> {
    let mut tokens = Vec::new();
    // The sign of the marker is none of the tag's.
    let mut at = from + usize::from(matches!(bytes.get(from), Some(b'-' | b'+')));
    while at < to {
        let rest = &bytes[at..to];
        let (token, length) = match rest[0] {
            quote @ (b'"' | b'\'') => (Token::Leaf, text(rest, quote).unwrap_or(rest.len())),
            b'*' if rest.starts_with(b"**") => (Token::Other, 2),
            b'*' => (Token::Times, 1),
            b'~' => (Token::Tilde, 1),
            b'+' | b'-' => (Token::Sign, 1),
            b'.' => (Token::Dot, 1),
            b'|' => (Token::Pipe, 1),
            open @ (b'(' | b'[' | b'{') => (Token::Open(open), 1),
            b')' | b']' | b'}' => (Token::Close, 1),
            byte if is_of_word(byte) => (Token::Leaf, word(rest)),
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ => (Token::Other, 1),
        };
        at += length;
        tokens.push((token, at));
    }
    tokens
}

/// Bytes of the name or number at the beginning, `1e-5` among them.
fn word(bytes: &[u8]) -> usize {
    let run = |from: usize| {
        let rest = &bytes[from..];
        from + rest.iter().take_while(|&&byte| is_of_word(byte)).count()
    };
    let end = run(0);
    let has_exponent = bytes[0].is_ascii_digit() && matches!(bytes[end - 1], b'e' | b'E');
    match bytes.get(end) {
        Some(b'+' | b'-') if has_exponent => run(end + 1),
        _ => end,
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Bytes of the text that begins with `quote`, with its quotes; `None` where
/// it does not end.
pub fn text(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(tag: &str) -> String {
        let filters = Filters {
            factor: "F",
            part: "P",
        };
        let mut filtered = tag.to_owned();
        let insertions = insertions(tag, 0, tag.len(), &filters);
        assert!(insertions.is_sorted(), "{tag}: {insertions:?}");
        for (at, what) in insertions.into_iter().rev() {
            filtered.insert_str(at, &what);
        }
        filtered
    }

    #[test]
    fn operands_go_through_a_filter_with_all_that_belongs_to_them() {
        for (tag, expected) in [
            ("a*b", "a|F *b|F "),
            ("a ~ b", "a|P  ~ b|P "),
            ("a ~ b ~ c", "a|P  ~ b|P  ~ c|P "),
            ("-a~'*'", "-a|P ~'*'|P "),
            ("a * - -b ** 2", "a|F  * - -b|F  ** 2"),
            (
                "a.b(c, d)[0]~e.f['g'](h).i",
                "a.b(c, d)[0]|P ~e.f['g'](h).i|P ",
            ),
            (
                "x | f(y) ~ z | g.h | i(1) + 2",
                "x | f(y)|P  ~ z | g.h | i(1)|P  + 2",
            ),
            ("a * (b * c)", "a|F  * (b|F  * c|F )|F "),
            (
                "a ~ [b ~ c][0] is none",
                "a|P  ~ [b|P  ~ c|P ][0]|P  is none",
            ),
            ("1.5e-3 * 2.5E+4-a", "1.5e-3|F  * 2.5E+4|F -a"),
            ("été ~ {'a': 1}['a']", "été|P  ~ {'a': 1}['a']|P "),
            ("- a ~ b if c else d", "- a|P  ~ b|P  if c else d"),
            (r"'\'~' ~ x", r"'\'~'|P  ~ x|P "),
        ] {
            assert_eq!(filtered(tag), expected);
        }
    }

    #[test]
    fn other_stars_stay_as_they_are() {
        for tag in [
            "f(*a)",
            "f(b, *a, **c)",
            "a ** b",
            "'a * b'",
            "* a",
            "",
            "-",
            "a(",
            "a - b",
            "a | b",
        ] {
            assert_eq!(filtered(tag), tag);
        }
        // Of these, the engine says what is wrong.
        for tag in ["a ~", "a ~ (b", "a * * b", "~ b", "a ~ 'b", "a * ) b"] {
            assert!(filtered(tag).len() >= tag.len());
        }
    }
}
