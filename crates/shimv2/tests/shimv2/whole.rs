//! A container as a whole, by real shims.

use std::sync::mpsc::{Receiver, channel};

use berth_shimv2::container::{Container, CreateError, End, Making};
use berth_shimv2::launch::Bundle;
use berth_shimv2::log::Log;
use berth_shimv2::stdio::{Stdio, Streams};
use berth_testkit::guard::{WAIT_LIMIT, wait_until};
use berth_types::error::{Classify, Kind, chain};
use rustix::process::Signal;

use crate::world::{LIMIT, World, read_all, read_until, write};

const INPUT: Streams = Streams { stdin: true, terminal: false };

fn make(world: &World, id: &str) -> Result<(Container, Stdio, Receiver<End>), CreateError> {
    let (dir, fifos) = (world.path(id), world.path(&format!("{id}-fifos")));
    std::fs::create_dir(&fifos).unwrap();
    let log = Log::open(&dir, |_| {}).unwrap();
    let (send, ended) = channel();
    let making = Making {
        program: &world.program,
        bundle: Bundle { dir: &dir, id },
        options: Some(world.options()),
        rootfs: vec![world.root()],
        streams: INPUT,
        fifos: &fifos,
    };
    let made = making.make(log, move |end| drop(send.send(end)))?;
    Ok((made.0, made.1, ended))
}

fn all_is_gone(world: &World) {
    assert!(wait_until(WAIT_LIMIT, || world.left().is_empty()), "{:?}", world.left());
}

/// From the bundle to nothing.
pub(crate) fn a_container_is_made_and_removed(world: &World) {
    world.bundle("c1", "read -r line; echo \"got $line\"; exit 5", |_| {});
    let (container, stdio, ended) = make(world, "c1").unwrap();
    container.start().unwrap();
    write(stdio.stdin.as_ref(), b"word\n");
    let End::Exited { code, at } = ended.recv_timeout(LIMIT).unwrap() else { panic!("it is not known") };
    assert!(code == 5 && at > 0);
    assert_eq!(read_all(&stdio.stdout), "got word\n");
    container.signal(Signal::KILL.as_raw().cast_unsigned(), false).unwrap();
    assert_eq!(container.remove().unwrap().exit_status, 5);
    all_is_gone(world);
}

/// A program that is not there is found out by the runtime at the creation, when the shim and the mount are there.
pub(crate) fn a_creation_that_fails_leaves_nothing(world: &World) {
    world.bundle("c1", "", |config| config["process"]["args"] = serde_json::json!(["/bin/nothing"]));
    let error = make(world, "c1").unwrap_err();
    assert!(
        chain(&error).starts_with("create container c1 by a foreign shim: Create of the shim: "),
        "{}",
        chain(&error)
    );
    assert!(chain(&error).contains("/bin/nothing"), "{}", chain(&error));
    all_is_gone(world);
    // A bundle that cannot be read is found out before there is one.
    std::fs::remove_dir_all(world.path("c1-fifos")).unwrap();
    std::fs::write(world.path("c1/config.json"), "{").unwrap();
    let error = make(world, "c1").unwrap_err();
    assert_eq!(error.kind(), Kind::Internal, "{}", chain(&error));
    all_is_gone(world);
}

/// The end is told as unknown, and the program ends what is left.
pub(crate) fn a_container_without_its_shim_is_removed(world: &World) {
    world.bundle("c1", "echo on; sleep 1000", |_| {});
    let (container, stdio, ended) = make(world, "c1").unwrap();
    container.start().unwrap();
    read_until(&stdio.stdout, "on\n");
    container.remove().unwrap_err();
    assert_eq!(world.kill_shims(), 1);
    let End::Unknown(error) = ended.recv_timeout(LIMIT).unwrap() else { panic!("it is known") };
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(container.last().1.is_some());
    assert_eq!(container.remove().unwrap().exit_status, 137);
    all_is_gone(world);
}
