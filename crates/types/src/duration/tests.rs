use super::*;

#[test]
fn durations_are_read_as_go_writes_them() {
    assert_eq!(parse("1m30s"), Some(Duration::from_secs(90)));
    assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
    assert_eq!(parse("1.5s"), Some(Duration::from_millis(1500)));
    assert_eq!(parse("1h0m0.5s"), Some(Duration::from_millis(3_600_500)));
    for text in ["", "5", "s", "-1s", "1d", "1s2", "99999999999999999999h"] {
        assert_eq!(parse(text), None, "{text:?}");
    }
}
