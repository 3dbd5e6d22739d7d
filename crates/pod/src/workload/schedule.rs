//! The schedule of a CronJob: five fields as cron has them, or `@hourly` and its like, or `@every 90m`. Pure.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

/// The longest text.
const MAX_TEXT: usize = 255;
/// How many years are looked through: 29 February is at most eight years away.
const YEARS: i16 = 9;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// At these minutes.
    At(Minutes),
    /// This long after the time before.
    Every(Duration),
}

/// Minutes of the calendar: a bit for each value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minutes {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether a day must be in both `days` and `weekdays`: one of them is every day.
    both: bool,
}

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// The machine's own.
    pub fn system() -> Self {
        Self(TimeZone::system())
    }

    /// One of the machine's zones, as `Europe/Berlin`.
    pub fn named(name: &str) -> Result<Self, String> {
        if name.eq_ignore_ascii_case("local") {
            return Err(
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
                    .to_owned(),
            );
        }
        if ["UTC", "Etc/UTC"].contains(&name) {
            return Ok(Self(TimeZone::UTC));
        }
        let known = TimeZone::get(name).map(Self);
        known.map_err(|_| format!("unknown time zone {name} (this machine's are in /usr/share/zoneinfo)"))
    }
}

/// One of the five fields.
struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, words: &[] },
    Field { name: "hour", least: 0, most: 23, words: &[] },
    Field { name: "day of month", least: 1, most: 31, words: &[] },
    Field { name: "month", least: 1, most: 12, words: &MONTHS },
    Field { name: "day of week", least: 0, most: 6, words: &DAYS },
];

impl Field {
    /// The values that a text names, and whether it is all of them by `*`.
    fn parse(&self, text: &str) -> Result<(u64, bool), String> {
        let (mut values, mut star) = (0, false);
        for part in text.split(',') {
            let (some, all) = self.range(part)?;
            values |= some;
            star |= all;
        }
        Ok((values, star))
    }

    /// `*`, `5`, `1-5`, and each with a `/STEP`.
    fn range(&self, text: &str) -> Result<(u64, bool), String> {
        let wrong = |reason: &str| format!("{reason} in {:?} of the {}", text, self.name);
        let (span, step) = match text.split_once('/') {
            None => (text, None),
            Some((span, step)) => (span, Some(step)),
        };
        let step_by: u8 = match step {
            None => 1,
            Some(step) => {
                step.parse().ok().filter(|n| *n > 0).ok_or_else(|| wrong("a step of 1 or more is missing"))?
            }
        };
        let star = ["*", "?"].contains(&span);
        let (from, to) = match span.split_once('-') {
            _ if star => (self.least, self.most),
            None => {
                let value = self.value(span).ok_or_else(|| wrong("an unknown value"))?;
                // As cron: 5/15 is 5-59/15.
                (value, if step.is_some() { self.most } else { value })
            }
            Some((from, to)) => {
                let ends = self.value(from).zip(self.value(to));
                ends.ok_or_else(|| wrong("an unknown value"))?
            }
        };
        if from < self.least || to > self.most {
            return Err(wrong(&format!("a value that is not within {} to {}", self.least, self.most)));
        }
        if from > to {
            return Err(wrong("a beginning after its end"));
        }
        let values = (from..=to).step_by(usize::from(step_by)).fold(0, |bits, value| bits | 1 << value);
        Ok((values, star && step_by == 1))
    }

    fn value(&self, text: &str) -> Option<u8> {
        let word = self.words.iter().position(|word| text.eq_ignore_ascii_case(word));
        let word = word.and_then(|index| u8::try_from(index).ok()).map(|index| index + self.least);
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        word.or_else(|| text.parse().ok().filter(|_| digits))
    }
}

impl Schedule {
    /// Reads a schedule, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("more than {MAX_TEXT} characters"));
        }
        if text.contains("TZ") {
            return Err("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
        }
        let text = text.trim();
        if let Some(every) = text.strip_prefix("@every ") {
            return every_of(every.trim()).map(Self::Every);
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => return Err(format!("unrecognized descriptor: {other}")),
            fields => fields,
        };
        let parts: Vec<_> = fields.split_whitespace().collect();
        if parts.len() != FIELDS.len() {
            return Err(format!("expected exactly 5 fields, found {}: {parts:?}", parts.len()));
        }
        let mut read = [(0, false); 5];
        for ((field, part), into) in FIELDS.iter().zip(parts).zip(&mut read) {
            *into = field.parse(part)?;
        }
        let [minutes, hours, days, months, weekdays] = read;
        Ok(Self::At(Minutes {
            minutes: minutes.0,
            hours: hours.0,
            days: days.0,
            months: months.0,
            weekdays: weekdays.0,
            both: days.1 || weekdays.1,
        }))
    }

    /// When it is due next after a time (nanoseconds since 1970); nothing where that is never.
    pub fn after(&self, at: i64, zone: &Zone) -> Option<i64> {
        match self {
            Self::Every(every) => at.checked_add(i64::try_from(every.as_nanos()).ok()?),
            Self::At(minutes) => minutes.after(at, &zone.0),
        }
    }
}

/// `90s`, `1h30m`: of one second or more.
fn every_of(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration {text:?}: expected as 30s, 15m or 1h30m");
    let (mut total, mut number) = (0_u64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' if number.len() < 9 => {
                number.push(c);
                continue;
            }
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        total += number.parse::<u64>().map_err(|_| wrong())? * unit;
        number.clear();
    }
    if !number.is_empty() || total == 0 {
        return Err(wrong());
    }
    Ok(Duration::from_secs(total))
}

impl Minutes {
    fn has_day(&self, date: Date) -> bool {
        let bit = |bits: u64, value: i8| bits & (1 << value) != 0;
        let day = bit(self.days, date.day());
        let weekday = bit(self.weekdays, date.weekday().to_sunday_zero_offset());
        bit(self.months, date.month()) && if self.both { day && weekday } else { day || weekday }
    }

    fn after(&self, at: i64, zone: &TimeZone) -> Option<i64> {
        let from = Timestamp::from_nanosecond(i128::from(at)).ok()?;
        let next = self.search(zone.to_datetime(from), from, zone);
        // A clock that is put back shows minutes again that it has shown before `from`.
        let change = zone.following(from).next().map(|transition| transition.timestamp());
        let change = change.filter(|change| next.is_none_or(|next| *change <= next));
        let again = change.and_then(|change| {
            let before = change.checked_sub(1.nanosecond()).ok()?;
            self.search(zone.to_datetime(change), before, zone)
        });
        let next = next.into_iter().chain(again).min()?;
        i64::try_from(next.as_nanosecond()).ok()
    }

    /// The first time after `from` at which a clock shows what is meant, from what it shows at `begin` on.
    fn search(&self, begin: DateTime, from: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut next = begin.with().second(0).subsec_nanosecond(0).build().ok()?;
        let last = next.date().year().checked_add(YEARS)?;
        loop {
            next = self.matching(next, last)?;
            if let Some(time) = offsets(next, zone).into_iter().find(|time| *time > from) {
                return Some(time);
            }
            next = next.checked_add(1.minute()).ok()?;
        }
    }

    /// The first minute that is meant, from this one on.
    fn matching(&self, mut next: DateTime, last: i16) -> Option<DateTime> {
        loop {
            if next.date().year() > last {
                return None;
            }
            if !self.has_day(next.date()) {
                next = next.date().tomorrow().ok()?.to_datetime(Time::midnight());
            } else if self.hours & (1 << next.hour()) == 0 {
                let hour = next.with().minute(0).build().ok()?;
                next = hour.checked_add(1.hour()).ok()?;
            } else if self.minutes & (1 << next.minute()) == 0 {
                next = next.checked_add(1.minute()).ok()?;
            } else {
                return Some(next);
            }
        }
    }
}

/// When a clock of the zone shows this, earliest first.
fn offsets(at: DateTime, zone: &TimeZone) -> Vec<Timestamp> {
    let offsets = match zone.to_ambiguous_timestamp(at).offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![offset],
        AmbiguousOffset::Gap { before, .. } => vec![before],
        AmbiguousOffset::Fold { before, after } => vec![before, after],
    };
    offsets.into_iter().filter_map(|offset| offset.to_timestamp(at).ok()).collect()
}

#[cfg(test)]
mod tests;
