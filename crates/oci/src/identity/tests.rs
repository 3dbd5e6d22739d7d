use super::*;

#[test]
fn a_name_may_look_like_fields() {
    let stat = "7 (a) 1 2 (b) c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4321 9 10";
    assert_eq!(start_time(stat), Some(4321));
    assert_eq!(start_time("7 a S 1"), None);
    assert_eq!(start_time("7 (a) S 1"), None);
}

#[test]
fn a_process_is_found_until_it_ends_and_no_other_in_its_place() {
    let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let id = ProcessId::of(child.id().cast_signed()).unwrap();
    assert!(id.open().unwrap().is_some());
    let other = ProcessId { start: id.start + 1, ..id };
    assert!(other.open().unwrap().is_none());
    drop(child.stdin.take());
    // Ended and not reaped is ended.
    let pidfd = pidfd_open(Pid::from_raw(id.pid).unwrap(), PidfdFlags::empty()).unwrap();
    let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
    assert!(has_ended(pidfd.as_fd(), limit).unwrap());
    assert!(id.open().unwrap().is_none());
    child.wait().unwrap();
    assert!(id.open().unwrap().is_none());
}
