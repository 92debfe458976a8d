//! Times as loggers write them.

use jiff::{Timestamp, civil, tz};

/// A time at the start of a text: how long it is, and the moment it means.
/// A time without a date or a year has a length but no moment, because the
/// rest would be invented. A time without a zone is UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Bytes it takes.
    pub len: usize,
    /// The moment, when the text says all of it.
    pub moment: Option<Timestamp>,
}

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// Reads a time at the very start of `text`.
pub(super) fn parse(text: &[u8]) -> Option<Stamp> {
    let first = *text.first()?;
    if first.is_ascii_digit() {
        iso(text)
            .or_else(|| compact(text))
            .or_else(|| month_day(text))
            .or_else(|| clock_only(text))
    } else if first.is_ascii_uppercase() {
        syslog(text)
    } else {
        None
    }
}

/// Seconds or milliseconds since 1970, as JSON loggers write them.
pub(super) fn from_epoch(value: f64) -> Option<Timestamp> {
    let seconds = if value >= 1e17 {
        value / 1e9
    } else if value >= 1e14 {
        value / 1e6
    } else if value >= 1e11 {
        value / 1e3
    } else {
        value
    };
    if !(1e8..1e11).contains(&seconds) {
        return None;
    }
    // The range check above makes the cast exact enough: microseconds fit.
    Timestamp::from_microsecond((seconds * 1e6) as i64).ok()
}

/// `n` digits at `at`, as a number.
fn digits(text: &[u8], at: usize, n: usize) -> Option<i32> {
    let part = text.get(at..at + n)?;
    part.iter().try_fold(0i32, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + i32::from(byte - b'0'))
    })
}

/// `HH:MM:SS` with an optional fraction at `at`: length, seconds, nanoseconds.
fn clock(text: &[u8], at: usize) -> Option<(usize, [i32; 3], i32)> {
    let hour = digits(text, at, 2)?;
    let minute = digits(text, at + 3, 2)?;
    let second = digits(text, at + 6, 2)?;
    if text.get(at + 2) != Some(&b':') || text.get(at + 5) != Some(&b':') {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut len = 8;
    let mut nanos = 0i32;
    if matches!(text.get(at + 8), Some(b'.' | b','))
        && text.get(at + 9).is_some_and(u8::is_ascii_digit)
    {
        let mut scale = 100_000_000;
        len = 9;
        while let Some(byte) = text.get(at + len).filter(|byte| byte.is_ascii_digit()) {
            nanos += i32::from(byte - b'0') * scale;
            scale /= 10;
            len += 1;
        }
    }
    Some((len, [hour, minute, second.min(59)], nanos))
}

/// A zone at `at`: its length and its offset in seconds.
fn zone(text: &[u8], at: usize) -> (usize, i32) {
    let rest = text.get(at..).unwrap_or_default();
    if rest.starts_with(b"Z") {
        return (1, 0);
    }
    for name in [&b" UTC"[..], b" GMT", b"UTC"] {
        if rest.starts_with(name) {
            return (name.len(), 0);
        }
    }
    let spaces = usize::from(rest.first() == Some(&b' '));
    let sign = match rest.get(spaces) {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return (0, 0),
    };
    let colon = usize::from(rest.get(spaces + 3) == Some(&b':'));
    let (Some(hours), Some(minutes)) = (
        digits(rest, spaces + 1, 2),
        digits(rest, spaces + 3 + colon, 2),
    ) else {
        return (0, 0);
    };
    if hours > 14 || minutes > 59 {
        return (0, 0);
    }
    (spaces + 5 + colon, sign * (hours * 3600 + minutes * 60))
}

fn moment(date: [i32; 3], time: [i32; 3], nanos: i32, offset: i32) -> Option<Timestamp> {
    let date = civil::Date::new(
        i16::try_from(date[0]).ok()?,
        i8::try_from(date[1]).ok()?,
        i8::try_from(date[2]).ok()?,
    )
    .ok()?;
    let time = civil::Time::new(
        i8::try_from(time[0]).ok()?,
        i8::try_from(time[1]).ok()?,
        i8::try_from(time[2]).ok()?,
        nanos,
    )
    .ok()?;
    let offset = tz::Offset::from_seconds(offset).ok()?;
    offset.to_timestamp(date.to_datetime(time)).ok()
}

/// `2025-12-10 03:58:22`, with `T` or `_` between, slashes, fraction, zone.
fn iso(text: &[u8]) -> Option<Stamp> {
    let year = digits(text, 0, 4)?;
    let month = digits(text, 5, 2)?;
    let day = digits(text, 8, 2)?;
    if !matches!(text.get(4), Some(b'-' | b'/')) || text.get(7) != text.get(4) {
        return None;
    }
    if !matches!(text.get(10), Some(b' ' | b'T' | b't' | b'_' | b'-')) {
        return None;
    }
    let (len, time, nanos) = clock(text, 11)?;
    let (zone_len, offset) = zone(text, 11 + len);
    Some(Stamp {
        len: 11 + len + zone_len,
        moment: moment([year, month, day], time, nanos, offset),
    })
}

/// `20240101 12:00:00.000`, as newer glog writes it.
fn compact(text: &[u8]) -> Option<Stamp> {
    let year = digits(text, 0, 4)?;
    let month = digits(text, 4, 2)?;
    let day = digits(text, 6, 2)?;
    if text.get(8) != Some(&b' ') {
        return None;
    }
    let (len, time, nanos) = clock(text, 9)?;
    Some(Stamp {
        len: 9 + len,
        moment: moment([year, month, day], time, nanos, 0),
    })
}

/// `11-19 19:03:25`: no year, so no moment.
fn month_day(text: &[u8]) -> Option<Stamp> {
    digits(text, 0, 2)?;
    digits(text, 3, 2)?;
    if !matches!(text.get(2), Some(b'-' | b'/')) || text.get(5) != Some(&b' ') {
        return None;
    }
    let (len, _, _) = clock(text, 6)?;
    Some(Stamp {
        len: 6 + len,
        moment: None,
    })
}

/// `12:20:10`: no day, so no moment.
fn clock_only(text: &[u8]) -> Option<Stamp> {
    let (len, _, _) = clock(text, 0)?;
    Some(Stamp { len, moment: None })
}

/// `Nov 23 15:06:12`, `Mon Nov 23 15:06:12 2026`.
fn syslog(text: &[u8]) -> Option<Stamp> {
    let mut at = 0;
    if DAYS.iter().any(|day| text.starts_with(day)) && text.get(3) == Some(&b' ') {
        at = 4;
    }
    let month = MONTHS
        .iter()
        .position(|month| text.get(at..).is_some_and(|rest| rest.starts_with(month)))?;
    if text.get(at + 3) != Some(&b' ') {
        return None;
    }
    let padded = text.get(at + 4) == Some(&b' ');
    let (day, day_len) = if padded {
        (digits(text, at + 5, 1)?, 2)
    } else if let Some(day) = digits(text, at + 4, 2) {
        (day, 2)
    } else {
        (digits(text, at + 4, 1)?, 1)
    };
    let after_day = at + 4 + day_len;
    if text.get(after_day) != Some(&b' ') {
        return None;
    }
    let (len, time, nanos) = clock(text, after_day + 1)?;
    let end = after_day + 1 + len;
    if text.get(end) == Some(&b' ')
        && let Some(year) = digits(text, end + 1, 4).filter(|year| (1970..2200).contains(year))
    {
        let month = i32::try_from(month + 1).ok()?;
        return Some(Stamp {
            len: end + 5,
            moment: moment([year, month, day], time, nanos, 0),
        });
    }
    Some(Stamp {
        len: end,
        moment: None,
    })
}
