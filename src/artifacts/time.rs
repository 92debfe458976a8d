use jiff::{Timestamp, civil, tz::Offset};

/// The time now, RFC 3339 in UTC with milliseconds: `2025-12-10T03:58:22.114Z`.
pub fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

/// Reads a time of an artifact. Old files have no zone: they mean UTC.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse::<Timestamp>().ok().or_else(|| {
        let civil: civil::DateTime = text.parse().ok()?;
        Offset::UTC.to_timestamp(civil).ok()
    })
}

/// The time now as part of a file name: `20251210T035822Z`.
pub(super) fn for_file_name() -> String {
    Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}
