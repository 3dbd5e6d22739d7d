use super::parse::*;
use super::*;

#[test]
fn a_field_is_found_by_its_whole_name() {
    let text = "pgfault 3\ntotal_pgfault 40\npgfault_x 5\n";
    assert_eq!(field(text, "pgfault"), Some(3));
    assert_eq!(field(text, "total_pgfault"), Some(40));
    assert_eq!((field(text, "fault"), field("", "x"), field("x -1", "x")), (None, None, None));
}

#[test]
fn no_limit_of_v1_is_none() {
    assert_eq!(limit(9_223_372_036_854_771_712), None);
    assert_eq!(limit(15 << 20), Some(15 << 20));
}

#[test]
fn pressure_is_read_and_nonsense_is_zero() {
    let text =
        "some avg10=12.34 avg60=0.05 avg300=100.00 total=77\nfull avg10=x avg60=1.00 avg300=0.00 total=9\n";
    let read = parse_pressure(text);
    assert_eq!(read.some, Stall { avg10: 1234, avg60: 5, avg300: 10_000, total_us: 77 });
    assert_eq!(read.full, Stall { avg10: 0, avg60: 100, avg300: 0, total_us: 9 });
    assert_eq!(parse_pressure("garbage"), Pressure::default());
}

#[test]
fn devices_of_both_versions_are_read_and_lines_without_a_device_passed_over() {
    let io = |read_bytes, written_bytes, reads, writes| BlockIo {
        major: 8,
        minor: 16,
        read_bytes,
        written_bytes,
        reads,
        writes,
    };
    // v2 has devices without any operation, and keys that are not known here.
    let text = "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n9:0 \n(unknown) rbytes=1\n";
    assert_eq!(io_stat(text), [io(1, 2, 3, 4)]);
    let bytes = "8:16 Read 1\n8:16 Write 2\n8:16 Sync 9\n8:16 Total 3\nTotal 3\n";
    assert_eq!(blkio(bytes, "8:16 Read 3\n8:16 Write 4\n"), [io(1, 2, 3, 4)]);
    assert_eq!(blkio("", ""), []);
}

#[test]
fn a_file_longer_than_the_buffer_is_read_whole_and_a_missing_one_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let text = "0123456789".repeat(2000);
    std::fs::write(dir.path().join("long"), &text).unwrap();
    std::fs::write(dir.path().join("short"), "max\n").unwrap();
    std::fs::write(dir.path().join("odd"), "x1\n").unwrap();
    let mut reader = Reader::default();
    assert_eq!(reader.text(dir.path(), "long").unwrap(), Some(text.as_str()));
    assert_eq!(reader.text(dir.path(), "short").unwrap(), Some("max\n"));
    assert_eq!(reader.number(dir.path(), "short").unwrap(), None);
    assert_eq!(reader.number(dir.path(), "missing").unwrap(), None);
    assert!(reader.number(dir.path(), "odd").is_err());
}
