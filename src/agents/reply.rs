//! What a model's reply to a step means. Small models reply with anything;
//! each reading says what it takes an unclear reply for.

/// Longer queries only cost time: an index takes the first words.
const LONGEST_QUERY: usize = 512;

/// More rephrasings than were asked for are not searched with.
const MOST_QUERIES: usize = 3;

/// Whether a reply says yes: its first word does. Anything else is a no.
pub(super) fn says_yes(reply: &str) -> bool {
    let word: String = reply
        .trim_start_matches(|c: char| !c.is_alphanumeric())
        .chars()
        .take_while(|c| c.is_alphanumeric())
        .collect();
    word.eq_ignore_ascii_case("yes")
}

/// The confidence in a reply: its first number, as a share or in percent.
/// `None` when it holds none.
pub(super) fn confidence(reply: &str) -> Option<f64> {
    let start = reply.find(|c: char| c.is_ascii_digit())?;
    let number: String = reply[start..]
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let after = reply[start + number.len()..].trim_start();
    let number: f64 = number.trim_end_matches('.').parse().ok()?;
    let is_percent = after.starts_with('%') || number > 1.0;
    let share = if is_percent { number / 100.0 } else { number };
    Some(share.clamp(0.0, 1.0))
}

/// The query in a reply: its first line with words. `None` when it has none.
pub(super) fn query(reply: &str) -> Option<String> {
    reply.lines().find_map(cleaned)
}

/// The queries in a reply, one a line, each once.
pub(super) fn queries(reply: &str) -> Vec<String> {
    let mut queries: Vec<String> = Vec::new();
    for query in reply.lines().filter_map(cleaned) {
        if queries.len() < MOST_QUERIES && !queries.contains(&query) {
            queries.push(query);
        }
    }
    queries
}

/// A line without the marks of a list and without quotation marks.
fn cleaned(line: &str) -> Option<String> {
    let line = line.trim();
    let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let line = match digits.strip_prefix(['.', ')']) {
        Some(rest) if digits.len() < line.len() => rest,
        _ => line.trim_start_matches(['-', '*', '•']),
    };
    let line = line.trim().trim_matches('"').trim();
    let line: String = line.chars().take(LONGEST_QUERY).collect();
    line.contains(char::is_alphanumeric).then_some(line)
}
