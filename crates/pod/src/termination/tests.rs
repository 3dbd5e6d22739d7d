use super::*;

#[test]
fn the_end_of_a_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "0123456789").unwrap();
    assert_eq!(end_of(&path, 4).unwrap(), b"6789");
    assert_eq!(end_of(&path, 40).unwrap(), b"0123456789");
    std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
    assert!(end_of(&dir.path().join("link"), 4).is_err());
    assert_eq!(end_of(&dir.path().join("none"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn the_end_of_a_log_is_without_its_times() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let line = |tag: &str, text: &str| format!("2026-11-29T12:00:00.000000000Z stdout {tag} {text}\n");
    std::fs::write(&path, line("F", "one  two") + &line("P", "half ") + &line("F", "whole")).unwrap();
    assert_eq!(of_log(&path, 2048), b"one  two\nhalf whole\n");
    assert_eq!(of_log(&path, 6), b"whole\n");
    std::fs::write(&path, (0..100).map(|n| line("F", &n.to_string())).collect::<String>()).unwrap();
    let said = String::from_utf8(of_log(&path, 2048)).unwrap();
    assert!(said.starts_with("20\n21\n") && said.ends_with("99\n"), "{said}");
    std::fs::write(&path, (0..100).map(|_| line("F", &"x".repeat(10_000))).collect::<String>()).unwrap();
    assert_eq!(of_log(&path, 2048).len(), 2048);
    assert!(of_log(&dir.path().join("none"), 2048).is_empty());
}

#[test]
fn the_containers_of_a_pod_share_what_may_be_said() {
    let bytes =
        |containers| settings(Path::new("/m"), TerminationMessagePolicy::File, containers)[BYTES].clone();
    assert_eq!((bytes(1), bytes(3), bytes(12)), ("4096".to_owned(), "4096".to_owned(), "1024".to_owned()));
}
