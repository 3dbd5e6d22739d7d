//! Further processes in a container.

use std::io::{Read, Write};

use berth_types::shim::{Event, Reason, Request};

use crate::rig::{Rig, possible, sh, until};

fn output(mut from: impl Read) -> String {
    let mut text = Vec::new();
    // A terminal ends with an error.
    drop(from.read_to_end(&mut text));
    String::from_utf8(text).unwrap()
}

#[test]
fn an_exec_has_its_own_output_and_status() {
    if !possible("an_exec_has_its_own_output_and_status") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("sleep 1000"));
    let (read, write) = std::io::pipe().unwrap();
    let (exec, _) = rig.exec(&id, &["/bin/sh", "-c", "echo hi; ps; exit 5"], 0, Some(write.into())).unwrap();
    let text = output(read);
    assert!(text.starts_with("hi\n") && text.contains("sleep 1000"), "{text}");
    assert_eq!(rig.client.event(), Event::ExecExited { exec, code: 5, timed_out: false });
    assert_eq!(rig.log(&id), Vec::<String>::new());
    rig.finish();
}

#[test]
fn a_missing_command_is_distinguished() {
    if !possible("a_missing_command_is_distinguished") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("sleep 1000"));
    for (command, reason) in [("/none", Reason::CommandNotFound), ("/bin/text", Reason::CommandDenied)] {
        let (_read, write) = std::io::pipe().unwrap();
        let failure = rig.exec(&id, &[command], 0, Some(write.into())).unwrap_err();
        assert_eq!(failure.reason, reason, "{}", failure.message);
        assert!(failure.message.contains(command));
    }
    rig.finish();
}

#[test]
fn time_that_runs_out_ends_the_whole_session_but_not_the_container() {
    if !possible("time_that_runs_out_ends_the_whole_session_but_not_the_container") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("sleep 1000"));
    let before = rig.processes();
    let (read, write) = std::io::pipe().unwrap();
    let script = ["/bin/sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000 & echo up; wait"];
    let (exec, _) = rig.exec(&id, &script, 3000, Some(write.into())).unwrap();
    assert_eq!(rig.client.event(), Event::ExecExited { exec, code: 137, timed_out: true });
    assert_eq!(output(read), "up\n", "no process holds the pipe any more");
    until("only the container is left", || rig.processes() == before);
    rig.finish();
}

#[test]
fn a_session_can_be_killed_and_ends_with_its_container() {
    if !possible("a_session_can_be_killed_and_ends_with_its_container") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("sleep 1000"));
    let (_read, write) = std::io::pipe().unwrap();
    let (exec, _) = rig.exec(&id, &["/bin/sleep", "1000"], 0, Some(write.into())).unwrap();
    rig.client.ask(Request::KillExec { exec: exec.clone() }, vec![]).unwrap();
    assert_eq!(rig.client.event(), Event::ExecExited { exec: exec.clone(), code: 137, timed_out: false });
    let gone = rig.client.ask(Request::KillExec { exec }, vec![]).unwrap_err();
    assert_eq!(gone.reason, Reason::NotFound);

    let (_read, write) = std::io::pipe().unwrap();
    let (exec, _) = rig.exec(&id, &["/bin/sleep", "1000"], 0, Some(write.into())).unwrap();
    rig.signal(&id, 9);
    assert_eq!(rig.client.event(), Event::ExecExited { exec, code: 137, timed_out: false });
    assert!(matches!(rig.client.event(), Event::Exited { container, .. } if container == id));
    let (_read, write) = std::io::pipe().unwrap();
    let failure = rig.exec(&id, &["/bin/sleep"], 0, Some(write.into())).unwrap_err();
    assert_eq!(failure.reason, Reason::State);
    rig.finish();
}

#[test]
fn a_terminal_of_an_exec_is_the_daemons_and_hangs_up_with_it() {
    if !possible("a_terminal_of_an_exec_is_the_daemons_and_hangs_up_with_it") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("sleep 1000"));
    let script = ["/bin/sh", "-c", "read x; stty size; echo got $x; exit 4"];
    let (exec, mut fds) = rig.exec(&id, &script, 0, None).unwrap();
    let mut master = std::fs::File::from(fds.remove(0));
    let resize = Request::Resize { container: id.clone(), exec: Some(exec.clone()), rows: 11, columns: 22 };
    rig.client.ask(resize, vec![]).unwrap();
    master.write_all(b"word\n").unwrap();
    assert_eq!(rig.client.event(), Event::ExecExited { exec, code: 4, timed_out: false });
    assert_eq!(output(master), "word\r\n11 22\r\ngot word\r\n");

    let (exec, fds) = rig.exec(&id, &["/bin/sleep", "1000"], 0, None).unwrap();
    drop(fds);
    assert_eq!(rig.client.event(), Event::ExecExited { exec, code: 129, timed_out: false });
    rig.finish();
}
