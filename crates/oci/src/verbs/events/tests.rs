use super::*;

#[test]
fn an_event_is_one_line() {
    let line = line("oom", "c", None);
    assert_eq!(line, "{\"id\":\"c\",\"type\":\"oom\"}\n");
}
