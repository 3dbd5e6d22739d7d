use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn an_atomic_write_replaces_and_leaves_no_temporary_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    for (text, durability) in [("old", Durability::Process), ("new", Durability::Power)] {
        write_atomic(&path, text.as_bytes(), durability).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_failed_atomic_write_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("taken");
    std::fs::create_dir_all(path.join("by a directory")).unwrap();
    assert!(write_atomic(&path, b"x", Durability::Process).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn several_may_write_one_file_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::thread::scope(|scope| {
        for writer in 0..8u8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..50 {
                    write_atomic(path, &[writer; 64], Durability::Process).unwrap();
                }
            });
        }
    });
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() == 64 && bytes.iter().all(|byte| *byte == bytes[0]));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_is_read_up_to_its_bound_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "four").unwrap();
    assert_eq!(read_bounded(&path, 4).unwrap(), b"four");
    assert_eq!(read_bounded(&path, u64::MAX).unwrap(), b"four");
    assert_eq!(read_bounded(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(read_bounded(&dir.path().join("none"), 3).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(read_bounded(Path::new("/dev/zero"), 10).is_err());
}
