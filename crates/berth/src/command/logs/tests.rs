use super::*;

fn entry(text: &str) -> String {
    format!("2026-01-01T00:00:00.000000000Z stdout F {text}\n")
}

fn printer() -> Printer<Vec<u8>, Vec<u8>> {
    Printer { timestamps: false, out: Vec::new(), err: Vec::new() }
}

#[test]
fn a_log_that_is_rotated_is_read_in_both_files() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("0.log"), dir.path().join("0.log.old"));
    std::fs::write(&path, entry("one")).unwrap();
    let mut log = Log::open(&path).unwrap();
    let mut printer = printer();
    log.print(&mut printer).unwrap();
    // As the kubelet does it: moved away, written to until the writer opens it anew.
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
    for lines in [0, 1, 2, 1500, 5000, 9000] {
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
