use std::os::fd::AsFd;

use super::*;

#[test]
fn a_child_runs_its_closure_and_is_reaped() {
    let child = fork(0, None, || 7).expect("fork");
    assert_eq!(reap(child.pidfd.as_fd()), Some(Exit::Code(7)));
    assert_eq!(reap(child.pidfd.as_fd()), None);
}

#[test]
fn a_child_that_is_killed_says_so() {
    let child = fork(0, None, || {
        loop {
            let _left = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 1000, tv_nsec: 0 });
        }
    })
    .expect("fork");
    rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL).expect("kill");
    let exit = reap(child.pidfd.as_fd()).expect("ours");
    assert_eq!(exit, Exit::Signal(9));
    assert_eq!(exit.shell_code(), 137);
}

#[test]
fn a_child_becomes_a_program() {
    let args = StringArray::new(vec![c"sh".into(), c"-c".into(), c"exit $CODE".into()]);
    let env = StringArray::new(vec![c"CODE=23".into()]);
    let child = fork(0, None, || {
        reset_signals();
        execve(c"/bin/sh", &args, &env).raw_os_error()
    })
    .expect("fork");
    assert_eq!(reap(child.pidfd.as_fd()), Some(Exit::Code(23)));
}

#[test]
fn the_working_directory_is_inside() {
    assert_eq!(cwd_is_inside(), Ok(true));
}
