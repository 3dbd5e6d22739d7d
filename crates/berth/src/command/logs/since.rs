//! The moment of `--since`: a time, or how long ago.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i128);

const SECOND: i128 = 1_000_000_000;

impl Moment {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i128::try_from(since.as_nanos()).unwrap_or(i128::MAX))
    }

    /// An RFC 3339 time, or its beginning down to the day; without an offset it is UTC.
    pub(super) fn of(text: &str) -> Option<Self> {
        let (date, rest) = (text.get(..10)?, text.get(10..)?);
        let days = days(number(date.get(..4)?)?, month(date)?, day(date)?)?;
        let Some(rest) = rest.strip_prefix(['T', 't', ' ']) else {
            return rest.is_empty().then_some(Self(i128::from(days) * 86_400 * SECOND));
        };
        let (clock, offset) = match rest.find(['Z', 'z', '+', '-']) {
            Some(at) => (rest.get(..at)?, offset(rest.get(at..)?)?),
            None => (rest, 0),
        };
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let mut parts = clock.split(':');
        let mut part = |most: i64| parts.next().map_or(Some(0), |text| number(text).filter(|n| *n <= most));
        let seconds = part(23)? * 3600 + part(59)? * 60 + part(60)?;
        if parts.next().is_some() || fraction.len() > 9 {
            return None;
        }
        let nanos = if fraction.is_empty() { 0 } else { number(&format!("{fraction:0<9}"))? };
        let whole = i128::from(days * 86_400 + seconds - offset);
        Some(Self(whole * SECOND + i128::from(nanos)))
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ago(text).map(|nanos| Self(Self::now().0 - nanos)).or_else(|| Self::of(text)).ok_or_else(|| {
            "expected a time such as 2026-01-31T12:00:00Z, or an age such as 30s, 10m, 1h30m or 2d".to_owned()
        })
    }
}

/// `1h30m`, in nanoseconds.
fn ago(text: &str) -> Option<i128> {
    let (mut rest, mut seconds) = (text, 0i64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = rest.get(end..=end)?;
        let factor = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        seconds = number(&rest[..end])?.checked_mul(factor)?.checked_add(seconds)?;
        rest = &rest[end + 1..];
    }
    (!text.is_empty()).then_some(i128::from(seconds) * SECOND)
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn month(date: &str) -> Option<i64> {
    number(date.get(4..7)?.strip_prefix('-')?).filter(|month| (1..=12).contains(month))
}

fn day(date: &str) -> Option<i64> {
    number(date.get(7..10)?.strip_prefix('-')?).filter(|day| (1..=31).contains(day))
}

/// Days since 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap day is the last of its
/// year.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year.checked_mul(365)?.checked_add(leaps + of_year - 719_468)
}

/// `Z` or `+02:00`, in seconds.
fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let seconds = number(hours).filter(|h| *h < 24)? * 3600 + number(minutes).filter(|m| *m < 60)? * 60;
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_all_their_forms() {
        let at = |seconds: i128, nanos: i128| Some(Moment(seconds * SECOND + nanos));
        for (text, moment) in [
            ("1970-01-01", at(0, 0)),
            ("1970-01-01T00:00:00Z", at(0, 0)),
            ("2000-02-29T12:34:56Z", at(951_827_696, 0)),
            ("2000-03-01", at(951_868_800, 0)),
            ("2026-11-25T01:02:03.000000004Z", at(1_795_568_523, 4)),
            ("2026-11-25T01:02:03.5", at(1_795_568_523, 500_000_000)),
            ("2026-11-25T03:02:03+02:00", at(1_795_568_523, 0)),
            ("2026-11-24 22:32:03-02:30", at(1_795_568_523, 0)),
            ("2026-11-25T01:02", at(1_795_568_520, 0)),
            ("", None),
            ("-", None),
            ("2026-13-01", None),
            ("2026-11-25T25:00:00Z", None),
            ("2026-11-25T01:02:03:04", None),
            ("2026-11-25x", None),
            ("2026-11-25T01:02:03.1234567890Z", None),
            ("2026-11-2é", None),
        ] {
            assert_eq!(Moment::of(text), moment, "{text}");
        }
    }

    #[test]
    fn how_long_ago() {
        for (text, seconds) in [
            ("30s", Some(30)),
            ("1h30m", Some(5400)),
            ("2d", Some(172_800)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("5y", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(ago(text), seconds.map(|s| s * SECOND), "{text}");
        }
    }
}
