use super::*;

#[test]
fn both_formats_are_one_line_whatever_the_text() {
    let json = line(LogFormat::Json, "error", "a \"b\"\nc", 0);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["level"], "error");
    assert_eq!(value["msg"], "a \"b\"\nc");
    assert_eq!(value["time"], "1970-01-01T00:00:00.000000000Z");
    let text = line(LogFormat::Text, "error", "a \"b\"\nc", 0);
    assert_eq!(text, "time=\"1970-01-01T00:00:00.000000000Z\" level=error msg=\"a \\\"b\\\"\\nc\"\n");
    assert_eq!((json.lines().count(), text.lines().count()), (1, 1));
}
