use super::*;

#[test]
fn signals_have_numbers_and_names() {
    let number = parse;
    for (text, wanted) in [
        ("0", 0),
        ("15", 15),
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigkill", 9),
        ("WINCH", 28),
        ("SYS", 31),
        ("IOT", 6),
        ("37", 37),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("RTMAX", 64),
    ] {
        assert_eq!(number(text), Some(wanted), "{text}");
    }
    for bad in ["", "65", "-1", "SIG", "NOPE", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMIN3", "9 "] {
        assert_eq!(number(bad), None, "{bad}");
    }
}
