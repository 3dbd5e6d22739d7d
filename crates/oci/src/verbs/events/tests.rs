use super::*;

#[test]
fn times_have_units() {
    assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
    assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
    assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
    assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
    for bad in ["", "5", "s", "-1s", "1d", "1.5s", "99999999999999999999s"] {
        assert_eq!(duration(bad), None, "{bad}");
    }
}

#[test]
fn an_event_is_one_line() {
    let line = line("oom", "c", None);
    assert_eq!(line, "{\"id\":\"c\",\"type\":\"oom\"}\n");
}
