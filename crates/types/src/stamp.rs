//! Times in log lines: RFC 3339, UTC, nine digits of a second.

/// Length of `2026-11-25T01:02:03.000000004Z`.
pub const LEN: usize = 30;

const NANOS: i64 = 1_000_000_000;

/// Writes times, and remembers the text of the last second: lines come in bursts.
#[derive(Debug)]
pub struct Stamper {
    second: i64,
    text: [u8; LEN],
}

impl Default for Stamper {
    fn default() -> Self {
        Self { second: i64::MIN, text: *b"0000-00-00T00:00:00.000000000Z" }
    }
}

impl Stamper {
    /// The time `nanos` after 1970 as text.
    pub fn text(&mut self, nanos: i64) -> &[u8; LEN] {
        let second = nanos.div_euclid(NANOS);
        if second != self.second {
            self.second = second;
            self.write_second(second);
        }
        digits(&mut self.text[20..29], nanos.rem_euclid(NANOS));
        &self.text
    }

    fn write_second(&mut self, second: i64) {
        let (year, month, day) = date(second.div_euclid(86_400));
        let clock = second.rem_euclid(86_400);
        digits(&mut self.text[0..4], year);
        digits(&mut self.text[5..7], month);
        digits(&mut self.text[8..10], day);
        digits(&mut self.text[11..13], clock / 3600);
        digits(&mut self.text[14..16], clock / 60 % 60);
        digits(&mut self.text[17..19], clock % 60);
    }
}

/// The last digits of `number`, right-aligned.
fn digits(place: &mut [u8], mut number: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number.rem_euclid(10)).expect("a digit is below 10");
        number /= 10;
    }
}

/// Year, month and day of the proleptic Gregorian calendar, for days since 1970-01-01.
///
/// Years are counted from March here, so that the leap day is the last of its year; an era is the
/// 400 years after which the calendar repeats (146097 days).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(nanos: i64) -> String {
        String::from_utf8(Stamper::default().text(nanos).to_vec()).unwrap()
    }

    #[test]
    fn known_times() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(951_782_400 * NANOS + 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(text(1_709_251_199 * NANOS + 999_999_999), "2024-02-29T23:59:59.999999999Z");
        assert_eq!(text(4_107_542_399 * NANOS), "2100-02-28T23:59:59.000000000Z");
        assert_eq!(text(4_107_542_400 * NANOS), "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..60_000 {
            assert_eq!(date(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn a_stamper_is_right_for_any_sequence() {
        let mut stamper = Stamper::default();
        for nanos in [5, 4, NANOS, NANOS - 1, 0, 86_400 * NANOS, 3] {
            assert_eq!(stamper.text(nanos)[..], *text(nanos).as_bytes());
        }
    }
}
