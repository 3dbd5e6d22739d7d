use super::*;

#[test]
fn what_the_child_says_is_heard_in_order() {
    let (ours, theirs) = pair().expect("pair");
    say_ready(theirs.as_fd()).expect("said");
    let (read, _write) = rustix::pipe::pipe().expect("pipe");
    say_terminal(theirs.as_fd(), read.as_fd()).expect("said");
    say_moved(theirs.as_fd(), 77, read.as_fd()).expect("said");
    say_failed(theirs.as_fd(), Fail { what: STEP, index: 3, errno: Errno::NOENT });
    drop(theirs);
    // The kernel says who sent a packet; the end of file has no sender.
    let heard = || {
        let (heard, sender) = hear(ours.as_fd()).expect("heard");
        let own = std::process::id().cast_signed();
        assert_eq!(sender, (!matches!(heard, Heard::Closed)).then_some(own));
        heard
    };
    assert!(matches!(heard(), Heard::Ready));
    assert!(matches!(heard(), Heard::Terminal(_)));
    assert!(matches!(heard(), Heard::Moved { pid: 77, .. }));
    let Heard::Failed { what, index, errno } = heard() else { panic!("not a failure") };
    assert_eq!((what.as_str(), index, errno), (STEP, 3, Errno::NOENT));
    assert!(matches!(heard(), Heard::Closed));
}

#[test]
fn a_name_that_is_too_long_is_cut() {
    let (ours, theirs) = pair().expect("pair");
    let long = "a step with a name that is much longer than anybody would write";
    say_failed(theirs.as_fd(), Fail { what: long, index: NONE, errno: Errno::PERM });
    let Heard::Failed { what, .. } = hear(ours.as_fd()).expect("heard").0 else { panic!("not a failure") };
    assert!(long.starts_with(&what) && what.len() == NAME);
}

#[test]
fn the_gate_opens_once_released_or_says_that_the_parent_is_gone() {
    let (ours, theirs) = pair().expect("pair");
    release(ours.as_fd()).expect("released");
    assert!(wait(theirs.as_fd()));
    drop(ours);
    assert!(!wait(theirs.as_fd()));
}

/// What no child of ours would say.
#[test]
fn nonsense_is_an_error_and_no_descriptor() {
    let (ours, theirs) = pair().expect("pair");
    say(theirs.as_fd(), &[TERMINAL], None).expect("said");
    assert_eq!(hear(ours.as_fd()).expect_err("no descriptor"), Errno::BADF);
    say(theirs.as_fd(), &[0xff; SIZE], None).expect("said");
    let (heard, _) = hear(ours.as_fd()).expect("heard");
    assert!(matches!(heard, Heard::Failed { errno: Errno::IO, .. }), "{heard:?}");
    say(theirs.as_fd(), &[FAILED; SIZE + 1], None).expect("said");
    assert_eq!(hear(ours.as_fd()).expect_err("too long"), Errno::MSGSIZE);
}
