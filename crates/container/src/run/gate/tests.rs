use super::*;

#[test]
fn what_the_child_says_is_heard_in_order() {
    let (ours, theirs) = pair().expect("pair");
    say_ready(theirs.as_fd(), None).expect("said");
    let (read, _write) = rustix::pipe::pipe().expect("pipe");
    say_ready(theirs.as_fd(), Some(read.as_fd())).expect("said");
    say_failed(theirs.as_fd(), Fail { what: STEP, index: 3, errno: Errno::NOENT });
    drop(theirs);
    let heard = || hear(ours.as_fd()).expect("heard");
    assert!(matches!(heard(), Heard::Ready(None)));
    assert!(matches!(heard(), Heard::Ready(Some(_))));
    let Heard::Failed { what, index, errno } = heard() else { panic!("not a failure") };
    assert_eq!((what.as_str(), index, errno), (STEP, 3, Errno::NOENT));
    assert!(matches!(heard(), Heard::Closed));
}

#[test]
fn a_name_that_is_too_long_is_cut() {
    let (ours, theirs) = pair().expect("pair");
    let long = "a step with a name that is much longer than anybody would write";
    say_failed(theirs.as_fd(), Fail { what: long, index: NONE, errno: Errno::PERM });
    let Heard::Failed { what, .. } = hear(ours.as_fd()).expect("heard") else { panic!("not a failure") };
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
