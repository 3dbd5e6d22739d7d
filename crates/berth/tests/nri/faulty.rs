//! Plugins that hang, die and talk nonsense: each costs its time, and never a pod.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use berth_testkit::guard::{has_program, wait_until};
use berth_testkit::{require, require_root};

use crate::home::LIMIT;
use crate::world::World;

/// More than a plugin's time, and less than two plugins'.
const COST: Duration = Duration::from_secs(30);

#[track_caller]
fn logs(world: &World, word: &str) {
    let logged = wait_until(LIMIT, || world.home.daemon.log().contains(word));
    assert!(logged, "{word:?}: {}", world.home.daemon.log());
}

/// Beside this neighbour a good plugin goes on being told, and containers are created.
#[track_caller]
fn beside(mode: &str, said: &str) {
    let world = World::start();
    let log = world.plugin("30", "log");
    let mut faulty = world.plugin("10", mode);
    let since = Instant::now();
    world.run("main");
    assert!(since.elapsed() < COST, "{:?}", since.elapsed());
    log.hears("PostStartContainer", "main");
    logs(&world, said);
    // It is disconnected, and ends by itself.
    if mode.starts_with("die") {
        faulty.ends();
    }
    world.run("second");
    log.hears("PostStartContainer", "second");
    drop((log, faulty));
    world.end();
}

#[test]
fn one_that_hangs_when_it_is_synchronised() {
    require_root!();
    require!(has_program("go"), "needs Go");
    beside("hang-synchronize", "it did not answer Synchronize within 5000 ms");
}

#[test]
fn one_that_hangs_when_a_container_is_created() {
    require_root!();
    require!(has_program("go"), "needs Go");
    beside("hang-create", "it did not answer CreateContainer within 2000 ms");
}

#[test]
fn one_that_dies_when_a_container_is_created() {
    require_root!();
    require!(has_program("go"), "needs Go");
    beside("die-create", "it closed the connection");
}

#[test]
fn one_that_refuses_is_named() {
    require_root!();
    require!(has_program("go"), "needs Go");
    let world = World::start();
    let refuses = world.plugin("10", "refuse-create");
    let error = world.create("main").unwrap_err().to_string();
    assert!(error.contains("10-refuse-create") && error.contains("main is not wanted"), "{error}");
    drop(refuses);
    assert!(wait_until(LIMIT, || world.create("main").is_ok()), "it can be created when the plugin is gone");
    world.end();
}

#[test]
fn those_that_talk_nonsense_are_disconnected_at_once() {
    require_root!();
    let world = World::start();
    let two_gib = [1_u32.to_be_bytes(), (2_u32 << 30).to_be_bytes()].concat();
    let garbage: Vec<u8> =
        (0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8 | 1).collect();
    let nameless = b"\x00\x00\x00\x02\x00\x00\x00\x3a\x00\x00\x00\x30\x00\x00\x00\x01\x01\x00\x0a\x1cnri.pkg.api.v1alpha1.Runtime\x12\x0eRegisterPlugin\x1a\x00";
    for bytes in [two_gib.as_slice(), &garbage, nameless] {
        let mut rude = UnixStream::connect(world.socket()).unwrap();
        rude.set_read_timeout(Some(LIMIT)).unwrap();
        // It may be disconnected before all of it is written.
        rude.write_all(bytes).ok();
        rude.read_to_end(&mut Vec::new()).ok();
    }
    logs(&world, "a frame of 2147483648 bytes was announced");
    logs(&world, "an index is two digits");
    // One that says nothing takes no place for long.
    let mut silent = UnixStream::connect(world.socket()).unwrap();
    silent.set_read_timeout(Some(LIMIT)).unwrap();
    world.run("main");
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    logs(&world, "it did not register within 5000 ms");
    world.end();
}
