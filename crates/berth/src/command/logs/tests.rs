use std::fs::File;

use super::*;

fn entry(text: &str) -> String {
    format!("2026-01-01T00:00:00.000000000Z stdout F {text}\n")
}

fn printer() -> Printer<Vec<u8>, Vec<u8>> {
    Printer { since: None, timestamps: false, prefix: String::new(), out: Vec::new(), err: Vec::new() }
}

#[test]
fn a_log_that_is_rotated_is_read_in_both_files() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("0.log"), dir.path().join("0.log.old"));
    std::fs::write(&path, entry("one")).unwrap();
    let mut log = Log::open(&path).unwrap();
    let mut printer = printer();
    log.print(&mut printer).unwrap();
    // As the kubelet does it: moved away, written to until the writer opens it again.
    std::fs::rename(&path, &old).unwrap();
    let mut writer = File::options().append(true).open(&old).unwrap();
    writer.write_all(entry("two").as_bytes()).unwrap();
    log.print(&mut printer).unwrap();
    writer.write_all(entry("three").as_bytes()).unwrap();
    std::fs::write(&path, entry("four")).unwrap();
    log.print(&mut printer).unwrap();
    File::options().append(true).open(&path).unwrap().write_all(entry("five").as_bytes()).unwrap();
    log.print(&mut printer).unwrap();
    assert_eq!(String::from_utf8(printer.out).unwrap(), "one\ntwo\nthree\nfour\nfive\n");
}

#[test]
fn an_entry_that_is_not_complete_waits_for_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let whole = entry("whole");
    let (first, second) = whole.split_at(20);
    std::fs::write(&path, first).unwrap();
    let mut log = Log::open(&path).unwrap();
    let mut printer = printer();
    log.print(&mut printer).unwrap();
    assert!(printer.out.is_empty());
    File::options().append(true).open(&path).unwrap().write_all(second.as_bytes()).unwrap();
    log.print(&mut printer).unwrap();
    assert_eq!(printer.out, b"whole\n");
}

#[test]
fn the_last_lines_are_found_from_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let all: Vec<String> = (0..5000).map(|n| format!("{n:040}")).collect();
    std::fs::write(&path, all.iter().map(|text| entry(text)).collect::<String>()).unwrap();
    for lines in [0, 1, 2, 1500, 5000, 9000, usize::MAX] {
        let mut log = Log::open(&path).unwrap();
        log.skip_to_last(lines).unwrap();
        let mut printer = printer();
        log.print(&mut printer).unwrap();
        let text = String::from_utf8(printer.out).unwrap();
        let wanted = &all[all.len().saturating_sub(lines)..];
        assert!(text.lines().eq(wanted.iter()), "{lines}: {} lines", text.lines().count());
    }
}

#[test]
fn each_stream_goes_to_its_own_with_or_without_time() {
    let lines = ["T1 stdout P a", "T2 stdout F b", "T3 stderr F c"];
    let mut plain = printer();
    let mut timed = Printer { timestamps: true, ..printer() };
    for line in lines {
        let raw = format!("{line}\n");
        plain.line(raw.as_bytes()).unwrap();
        timed.line(raw.as_bytes()).unwrap();
    }
    assert_eq!((plain.out.as_slice(), plain.err.as_slice()), (&b"ab\n"[..], &b"c\n"[..]));
    assert_eq!((timed.out.as_slice(), timed.err.as_slice()), (&b"T1 a\nT2 b\n"[..], &b"T3 c\n"[..]));
}

#[test]
fn what_was_moved_aside_is_part_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    for (name, text) in [("0.log.2", "ab"), ("0.log.1", "cde"), ("0.log", "f")] {
        let lines: String = text.chars().map(|c| entry(&c.to_string())).collect();
        std::fs::write(dir.path().join(name), lines).unwrap();
    }
    // Of another log, or of another program.
    std::fs::write(dir.path().join("0.log.4"), entry("no")).unwrap();
    for (tail, wanted) in
        [(None, "a b c d e f"), (Some(0), ""), (Some(1), "f"), (Some(3), "d e f"), (Some(4), "c d e f")]
    {
        let mut log = Log::open(&path).unwrap();
        if let Some(lines) = tail {
            log.skip_to_last(lines).unwrap();
        }
        let mut printer = printer();
        log.print(&mut printer).unwrap();
        let text = String::from_utf8(printer.out).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>().join(" "), wanted, "{tail:?}");
    }
}

#[test]
fn only_what_was_written_since() {
    let mut printer = Printer { since: Moment::of("2026-01-01T00:00:01Z"), ..printer() };
    for (second, text) in [(0, "a"), (1, "b"), (0, "c"), (2, "d")] {
        printer.line(format!("2026-01-01T00:00:0{second}.000000000Z stdout F {text}\n").as_bytes()).unwrap();
    }
    assert_eq!(printer.out, b"b\nc\nd\n");
}

#[test]
fn all_lines_have_two_names() {
    for (text, lines) in [("all", usize::MAX), ("-1", usize::MAX), ("0", 0), ("12", 12)] {
        assert_eq!(text.parse::<Tail>().unwrap().0, lines);
    }
    assert!(["", "-2", "many"].iter().all(|text| text.parse::<Tail>().is_err()));
}
