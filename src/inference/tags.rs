//! The tags of a chat template, as far as its assignments and operands are
//! concerned.
//!
//! The engine has no hook for assignments, and values that are nested without
//! end overflow its stack. So what a template assigns goes through a filter:
//! `{% set a.b = c %}` is compiled as `{% set a.b = (c)|FILTER %}`.

use super::operands::{self, Insertion, text};

/// Bytes that a template may have; the longest in use have some tens of kB.
const LONGEST: usize = 128 << 10;

/// Bytes that a tag may have beside its texts and blanks. The engine recurses
/// for every operator of a chain, and looks at its beginning again for each.
const LONGEST_TAG: usize = 4_000;

/// Brackets in brackets that a tag may have, and filters: each may put a value
/// into a list. Those in use have four of each at most.
const DEEPEST_TAG: usize = 32;

/// Filters that values go through.
pub struct Filters {
    /// For values that get a name.
    pub named: &'static str,
    /// For values that become an attribute of a namespace.
    pub held: &'static str,
    pub operands: operands::Filters,
}

/// The template with a filter at each of its assignments and operands. A
/// template with a tag that does not end is left to the engine to complain of.
///
/// # Errors
/// Where it, or one of its tags, is longer than any template needs.
pub fn with_filters(source: &str, filters: &Filters) -> Result<String, String> {
    if source.len() > LONGEST {
        return Err(format!(
            "the chat template is longer than {} kB",
            LONGEST >> 10
        ));
    }
    let mut insertions: Vec<Insertion> = Vec::new();
    let mut at = 0;
    while let Some(open) = find(source, at, "{") {
        let inner = open + 2;
        let end = match source.as_bytes().get(open + 1) {
            Some(b'#') => find(source, inner, "#}").map(|end| end + 2),
            Some(b'{') => match tag(source, inner, "}}")? {
                Some(end) => {
                    insertions.extend(operands::insertions(source, inner, end, &filters.operands));
                    Some(end)
                }
                None => None,
            },
            Some(b'%') => match raw(source, inner) {
                Some(end) => end,
                None => match tag(source, inner, "%}")? {
                    Some(end) => {
                        insertions.extend(block(source, inner, end, filters));
                        Some(end)
                    }
                    None => None,
                },
            },
            _ => Some(open + 1),
        };
        let Some(end) = end else { break };
        at = end;
    }
    let mut filtered = String::with_capacity(source.len());
    let mut copied = 0;
    for (at, what) in insertions {
        filtered.push_str(&source[copied..at]);
        filtered.push_str(&what);
        copied = at;
    }
    filtered.push_str(&source[copied..]);
    Ok(filtered)
}

/// What to insert into a block tag.
fn block(source: &str, inner: usize, end: usize, filters: &Filters) -> Vec<Insertion> {
    let mut insertions = operands::insertions(source, inner, end, &filters.operands);
    if let Some((value, filter)) = assignment(&source[inner..end], filters) {
        let value = inner + value;
        let close = match source[..value].ends_with('=') {
            true => {
                insertions.insert(0, (value, "(".to_owned()));
                ")"
            }
            false => "",
        };
        insertions.push((end, format!("{close}|{filter} ")));
        // Operands that stand where a name belongs are the engine's to refuse.
        insertions.sort_by_key(|&(at, _)| at);
    }
    insertions
}

/// Where the value of a `set` tag begins, and the filter that it goes
/// through; `None` for other tags, and for blocks of text.
fn assignment<'f>(tag: &str, filters: &'f Filters) -> Option<(usize, &'f str)> {
    let body = tag.trim_start_matches(['-', '+']).trim_start();
    let rest = body.strip_prefix("set")?;
    if rest.starts_with(|next: char| next.is_alphanumeric() || next == '_') {
        return None;
    }
    let target = rest.find(['=', '|'])?;
    let filter = match rest[..target].contains('.') {
        true => filters.held,
        false => filters.named,
    };
    Some((tag.len() - rest.len() + target + 1, filter))
}

/// Where a tag ends that has its inner side at `from`: before its closing
/// marker, as the engine reads it.
fn tag(source: &str, from: usize, close: &str) -> Result<Option<usize>, String> {
    let bytes = source.as_bytes();
    let (mut at, mut open, mut length, mut pipes) = (from, 0_isize, 0, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        if open == 0 {
            let trimmed = rest.strip_prefix(b"-").or_else(|| rest.strip_prefix(b"+"));
            if rest.starts_with(close.as_bytes())
                || trimmed.is_some_and(|rest| rest.starts_with(close.as_bytes()))
            {
                return Ok(Some(at));
            }
        }
        match bytes[at] {
            quote @ (b'"' | b'\'') => match text(rest, quote) {
                Some(length) => at += length,
                None => return Ok(None),
            },
            byte => {
                open += match byte {
                    b'(' | b'[' | b'{' => 1,
                    b')' | b']' | b'}' => -1,
                    _ => 0,
                };
                length += usize::from(!byte.is_ascii_whitespace());
                pipes += usize::from(byte == b'|');
                at += 1;
            }
        }
        let what = if length > LONGEST_TAG {
            format!("{LONGEST_TAG} bytes beside its texts")
        } else if open.unsigned_abs() > DEEPEST_TAG {
            format!("{DEEPEST_TAG} brackets in brackets")
        } else if pipes > DEEPEST_TAG {
            format!("{DEEPEST_TAG} filters")
        } else {
            continue;
        };
        let line = source[..from].matches('\n').count() + 1;
        return Err(format!(
            "the chat template has a tag of more than {what} (in line {line})"
        ));
    }
    Ok(None)
}

/// Where a raw block ends whose tag has its inner side at `from`; `None` for
/// other tags, and inside for a block that does not end.
fn raw(source: &str, from: usize) -> Option<Option<usize>> {
    let mut at = from + bare(&source[from..], "raw")?;
    while let Some(open) = find(source, at, "{%") {
        at = open + 2;
        if let Some(length) = bare(&source[at..], "endraw") {
            return Some(Some(at + length));
        }
    }
    Some(None)
}

/// Bytes of a tag that is nothing but `name`, from its inner side on.
fn bare(tag: &str, name: &str) -> Option<usize> {
    let blanks = |text: &'_ str| text.len() - text.trim_ascii_start().len();
    let rest = tag.strip_prefix(['-', '+']).unwrap_or(tag);
    let rest = rest[blanks(rest)..].strip_prefix(name)?;
    let rest = &rest[blanks(rest)..];
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    Some(tag.len() - rest.strip_prefix("%}")?.len())
}

fn find(source: &str, from: usize, what: &str) -> Option<usize> {
    Some(from + source.get(from..)?.find(what)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FILTERS: Filters = Filters {
        named: "N",
        held: "H",
        operands: operands::Filters {
            factor: "F",
            part: "P",
        },
    };

    fn filtered(source: &str) -> String {
        with_filters(source, &FILTERS).unwrap()
    }

    #[test]
    fn what_is_assigned_goes_through_a_filter() {
        for (source, expected) in [
            ("{% set a = b %}", "{% set a =( b )|N %}"),
            ("x{%- set a.b = c -%}y", "x{%- set a.b =( c )|H -%}y"),
            ("{%set a=b,c%}", "{%set a=(b,c)|N %}"),
            ("{% set a, b.c = d %}", "{% set a, b.c =( d )|H %}"),
            ("{%+\n set a.b='%}' +%}", "{%+\n set a.b=('%}' )|H +%}"),
            (r"{% set a='\'%}' %}", r"{% set a=('\'%}' )|N %}"),
            ("{% set a={'b':{}} %}", "{% set a=({'b':{}} )|N %}"),
            ("{% set a.b | f(c) %}", "{% set a.b | f(c) |H %}"),
            ("{%- set a=b~c-%}", "{%- set a=(b|P ~c|P )|N -%}"),
        ] {
            assert_eq!(filtered(source), expected);
        }
    }

    #[test]
    fn operands_go_through_a_filter_in_every_kind_of_tag() {
        for (source, expected) in [
            ("{{- a * b -}}*~", "{{- a|F  * b|F  -}}*~"),
            ("{% if a ~ b == c %}", "{% if a|P  ~ b|P  == c %}"),
            ("{% for a in b*c %}", "{% for a in b|F *c|F  %}"),
            ("{# a ~ b #}", "{# a ~ b #}"),
            ("{% set a~=b %}", "{% set a|P ~=(b )|N %}"),
            (
                "{% raw %}{{ a ~ b }}{% endraw %}",
                "{% raw %}{{ a ~ b }}{% endraw %}",
            ),
        ] {
            assert_eq!(filtered(source), expected);
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for source in [
            "",
            "{",
            "{{",
            "{% set a.b = '",
            "{% set a.b = c",
            "{% set a.b %}text{% endset %}",
            "{% setting = 1 %}",
            "{# {% set a = b %} #}",
            "{% raw %}{% set a = b %}{% endraw %}",
            "{%- raw -%}{% set a = b %}{%- endraw -%}",
            "{% raw %}{% set a = b %}",
            "{{ '{% set a = b %}' }}",
            "{{ {'a': {'b': 1}}['a'] }} set a = b é",
            "{% if set == 1 %}{% endif %}",
        ] {
            assert_eq!(filtered(source), source);
        }
        assert_eq!(
            filtered("{{ {'a': {}} }}{% set a = b %}"),
            "{{ {'a': {}} }}{% set a =( b )|N %}"
        );
    }

    #[test]
    fn a_tag_is_no_longer_than_the_engine_can_bear() {
        let text = format!("{{{{ '{}' }}}}", "x".repeat(100_000));
        assert!(with_filters(&text, &FILTERS).is_ok());
        let chain = format!("\n{{{{ {}1 }}}}", "-".repeat(100_000));
        let error = with_filters(&chain, &FILTERS).unwrap_err();
        assert!(error.contains("a tag of more than 4000 bytes"), "{error}");
        assert!(error.contains("(in line 2)"), "{error}");
        let deep = format!("{{{{ {}1", "[".repeat(33));
        let error = with_filters(&deep, &FILTERS).unwrap_err();
        assert!(
            error.contains("more than 32 brackets in brackets"),
            "{error}"
        );
        let filtered = format!("{{{{ x{} }}}}", "|e".repeat(33));
        let error = with_filters(&filtered, &FILTERS).unwrap_err();
        assert!(error.contains("a tag of more than 32 filters"), "{error}");
        let error = with_filters(&"x".repeat(LONGEST + 1), &FILTERS).unwrap_err();
        assert!(error.contains("longer than 128 kB"), "{error}");
    }
}
