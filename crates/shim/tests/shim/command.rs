//! Containers that an OCI runtime makes, a script here.

use std::os::fd::OwnedFd;

use berth_testkit::executable;
use berth_types::shim::bundle::{self, Bundle, Piece, Process};
use berth_types::shim::{Event, Exec, Request};
use berth_types::{ContainerId, ExecId};

use crate::rig::{Rig, Want, possible, sh, until};

#[test]
fn the_end_of_a_container_does_not_wait_for_a_runtime_that_hangs_in_an_exec() {
    if !possible("the_end_of_a_container_does_not_wait_for_a_runtime_that_hangs_in_an_exec") {
        return;
    }
    let mut rig = Rig::new(false);
    let (program, asked, dir) = (rig.file("runtime.sh"), rig.file("asked"), rig.file("bundle"));
    std::fs::create_dir(&dir).unwrap();
    // Where those of the containers are.
    let groups = rig.group_of(&ContainerId::from_random([0; 32])).dirs();
    let groups: Vec<_> = groups.iter().map(|dir| dir.parent().unwrap().display().to_string()).collect();
    let text = format!(
        "#!/bin/sh\nfor word; do\n  [ \"$last\" = --pid-file ] && pid_file=$word\n  last=$word\ndone\n\
         case \" $* \" in\n*\" create \"*) setsid sleep 1000 <&- >&- 2>&- & pid=$!; echo $pid >\"$pid_file\"\n\
         for group in {}; do echo $pid >\"$group/$last/cgroup.procs\"; done;;\n\
         *\" exec \"*) : >{}; exec sleep 1000;;\nesac\n",
        groups.join(" "),
        asked.display()
    );
    executable::script(&program, text);
    let bundle = Bundle {
        runtime: program.to_str().unwrap().to_owned(),
        dir: dir.to_str().unwrap().to_owned(),
        config: vec![Piece::Text("{}".to_owned())],
    };
    let id = rig.run(Want { plan: Some(bundle::encode(&bundle).unwrap()), ..sh("") });

    let plan = bundle::encode(&Process { text: "{}".to_owned() }).unwrap();
    let exec = ExecId::from_random([9; 32]);
    let exec = Exec { exec, container: id.clone(), plan, tty: false, timeout_ms: 0 };
    let (empty, unread) = std::io::pipe().unwrap();
    let fds: Vec<OwnedFd> = vec![empty.into(), unread.try_clone().unwrap().into(), unread.into()];
    let number = rig.client.post(Request::Exec(exec), fds);
    until("the runtime is asked for a process", || asked.exists());
    rig.signal(&id, 9);
    let exit = loop {
        match rig.client.event() {
            Event::Exited { exit, .. } => break exit,
            Event::Lingers { text, .. } => panic!("it waits: {text}"),
            _ => {}
        }
    };
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    rig.client.answer_to(number).unwrap_err();
    rig.finish();
}
