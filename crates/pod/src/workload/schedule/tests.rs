use super::*;

fn at(text: &str) -> i64 {
    i64::try_from(text.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap()
}

fn next(schedule: &str, zone: &str, from: &str) -> String {
    let zone = Zone::named(zone).unwrap();
    let due = Schedule::parse(schedule).unwrap().after(at(from), &zone);
    due.map_or_else(|| "never".to_owned(), |due| Timestamp::from_nanosecond(due.into()).unwrap().to_string())
}

#[test]
fn the_next_time_is_the_first_that_every_field_has() {
    // 29 November 2026 is a Sunday.
    for (schedule, from, due) in [
        ("* * * * *", "2026-11-29T10:00:00Z", "2026-11-29T10:01:00Z"),
        ("* * * * *", "2026-11-29T10:00:59.5Z", "2026-11-29T10:01:00Z"),
        ("*/15 * * * *", "2026-11-29T10:46:00Z", "2026-11-29T11:00:00Z"),
        ("5/20 * * * *", "2026-11-29T10:06:00Z", "2026-11-29T10:25:00Z"),
        ("0 2 * * *", "2026-11-29T02:00:00Z", "2026-11-30T02:00:00Z"),
        ("0 9-17/4 * * MON-FRI", "2026-11-29T12:00:00Z", "2026-11-30T09:00:00Z"),
        ("0 0 1 JAN *", "2026-11-29T12:00:00Z", "2027-01-01T00:00:00Z"),
        ("30 4 1,15 * *", "2026-11-29T12:00:00Z", "2026-12-01T04:30:00Z"),
        ("0 0 29 2 *", "2026-11-29T12:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 31 2 *", "2026-11-29T12:00:00Z", "never"),
        // Where both are restricted, either is enough.
        ("0 0 13 * 5", "2026-11-29T12:00:00Z", "2026-12-04T00:00:00Z"),
        // Where one is every day, both count.
        ("0 0 */1 * 5", "2026-11-29T12:00:00Z", "2026-12-04T00:00:00Z"),
        ("@hourly", "2026-11-29T12:00:00Z", "2026-11-29T13:00:00Z"),
        ("@daily", "2026-11-29T12:00:00Z", "2026-11-30T00:00:00Z"),
        ("@weekly", "2026-11-29T12:00:00Z", "2026-12-06T00:00:00Z"),
        ("@monthly", "2026-11-29T12:00:00Z", "2026-12-01T00:00:00Z"),
        ("@yearly", "2026-11-29T12:00:00Z", "2027-01-01T00:00:00Z"),
        ("@every 1h30m", "2026-11-29T12:00:07Z", "2026-11-29T13:30:07Z"),
    ] {
        assert_eq!(next(schedule, "UTC", from), due, "{schedule} after {from}");
    }
}

#[test]
fn a_clock_that_is_put_forward_or_back_is_followed() {
    if Zone::named("Europe/Berlin").is_err() {
        eprintln!("skipped: schedule: this machine has no time zones");
        return;
    }
    // Forward at 2026-03-29T01:00:00Z, back at 2026-10-25T01:00:00Z.
    for (schedule, from, due) in [
        ("0 12 * * *", "2026-07-01T00:00:00Z", "2026-07-01T10:00:00Z"),
        ("0 12 * * *", "2026-12-01T00:00:00Z", "2026-12-01T11:00:00Z"),
        ("30 2 * * *", "2026-03-29T00:00:00Z", "2026-03-29T01:30:00Z"),
        // Shown twice; what runs each ten minutes goes on.
        ("*/10 * * * *", "2026-10-25T00:50:00Z", "2026-10-25T01:00:00Z"),
        ("*/10 * * * *", "2026-10-25T01:00:00Z", "2026-10-25T01:10:00Z"),
        ("30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
    ] {
        assert_eq!(next(schedule, "Europe/Berlin", from), due, "{schedule} after {from}");
    }
}

#[test]
fn what_is_no_schedule_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "expected exactly 5 fields, found 0"),
        ("* * * *", "expected exactly 5 fields, found 4"),
        ("0 0 * * * *", "expected exactly 5 fields, found 6"),
        ("60 * * * *", "not within 0 to 59 in \"60\" of the minute"),
        ("* 24 * * *", "not within 0 to 23"),
        ("* * 0 * *", "not within 1 to 31"),
        ("* * * 13 *", "not within 1 to 12"),
        ("* * * * 7", "not within 0 to 6"),
        ("5-1 * * * *", "a beginning after its end"),
        ("*/0 * * * *", "a step of 1 or more"),
        ("a * * * *", "an unknown value"),
        ("+5 * * * *", "an unknown value"),
        ("1, * * * *", "an unknown value"),
        ("@never", "unrecognized descriptor: @never"),
        ("@every 0s", "invalid duration"),
        ("@every 5", "invalid duration"),
        ("@every 99999999999h", "invalid duration"),
        ("TZ=UTC * * * * *", "use timeZone field instead"),
    ] {
        let said = Schedule::parse(text).expect_err(text);
        assert!(said.contains(reason), "{text:?}: {said}");
    }
    assert!(Schedule::parse(&"1,".repeat(200)).unwrap_err().contains("255 characters"));
    assert!(Zone::named("Local").is_err() && Zone::named("Mars/Olympus").is_err());
}
