use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, SystemTime},
};
use ureq::http::HeaderMap;

/// The batch timeout of a study that says nothing else.
const BATCH_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a request is worth trying.
///
/// Nothing is reported as progress while a request is tried, so `total` must
/// stay well below the study's batch timeout.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Times that a request is sent at most.
    pub tries: u32,
    /// For one try.
    pub attempt: Duration,
    /// For all tries of a request and the waiting between them, but for what
    /// the server asks to wait.
    pub total: Duration,
    /// The server may ask to wait so long at once.
    pub longest_pause: Duration,
    /// The first wait; each one is twice as long as the one before.
    pub first_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self::within(BATCH_TIMEOUT)
    }
}

impl Patience {
    /// What a batch that may go on for `batch_timeout` without a sign of
    /// progress leaves to a request.
    pub fn within(batch_timeout: Duration) -> Self {
        // One that never ends is more than clocks can count.
        let batch_timeout = batch_timeout.min(Duration::from_secs(86_400));
        Self {
            tries: 5,
            attempt: batch_timeout / 3,
            total: batch_timeout / 2,
            // Limits are counted per minute or hour; those per day are not
            // waited for.
            longest_pause: Duration::from_secs(3600),
            first_wait: Duration::from_millis(500),
        }
    }

    /// The wait after the `tried`th try (from 1): what the server asks for and
    /// a little more, or else twice the wait before, of which a random half is
    /// left out, so that a batch does not come back as one.
    pub fn wait(&self, tried: u32, too_many: bool, asked: Option<Duration>) -> Duration {
        match asked {
            Some(asked) => asked.saturating_add(self.first_wait.mul_f64(random())),
            None => {
                // Rate limits are counted per minute.
                let first = self.first_wait * if too_many { 4 } else { 1 };
                let doubled = first.saturating_mul(1 << tried.saturating_sub(1).min(16));
                doubled.mul_f64(0.5 + random() / 2.0)
            }
        }
    }
}

/// A number in `[0, 1)`; the standard library's hash keys are random enough.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(0) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

/// How long the server asks to wait: `retry-after-ms`, or `retry-after` as
/// seconds or as a date; else until the limit that is used up begins anew
/// (`x-ratelimit-remaining-requests: 0` and `x-ratelimit-reset-requests: 1m2s`,
/// and the same of `tokens`).
pub fn asked_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| *number >= 0.0);
    if let Some(ms) = text("retry-after-ms").and_then(number) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let Some(after) = text("retry-after") else {
        return ["requests", "tokens"]
            .into_iter()
            .filter(|what| {
                let remaining = text(&format!("x-ratelimit-remaining-{what}"));
                remaining.and_then(number).is_some_and(|left| left < 1.0)
            })
            .filter_map(|what| span(text(&format!("x-ratelimit-reset-{what}"))?))
            .max();
    };
    if let Some(seconds) = number(after) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(after)
        .ok()?;
    let date = SystemTime::try_from(date).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// A time like `1m2.5s`, `20ms` or `6h0m0s`; a bare number is seconds.
fn span(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        let after = &rest[end..];
        let unit = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        seconds += number
            * match &after[..unit] {
                "ms" => 0.001,
                "" | "s" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &after[unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}
