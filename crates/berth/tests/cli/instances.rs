//! One daemon for an instance, and what is left of one whose directories are gone.

use std::path::Path;
use std::process::{Command, Stdio};

use berth_testkit::guard::wait_until;
use berth_testkit::require_root;

use crate::home::{BUSYBOX, Call, Home, LIMIT, Said, program};

fn berth(arguments: &[&str]) -> Said {
    let mut command = Command::new(program());
    command.env_remove("BERTH_HOST").env_remove("BERTH_INSTANCE").args(arguments).stdin(Stdio::null());
    Call::spawn(command).end()
}

#[test]
fn a_second_daemon_of_an_instance_is_refused() {
    require_root!();
    let home = Home::start();
    let at = |name: &str| home.dir.path().join(name).display().to_string();
    let (root, state, socket) = (at("root"), at("state"), format!("unix://{}", at("socket")));
    let instance = home.daemon.instance();
    let serve = ["serve", "--instance", instance, "--root", &root, "--state", &state, "--listen", &socket];
    let err = berth(&serve).refused();
    assert!(err.contains(&format!("a daemon of instance {instance} runs already")), "{err}");
    assert!(err.contains("--instance NAME") && !Path::new(&root).exists(), "{err}");
    home.clean();
}

#[test]
fn purge_finds_an_instance_whose_directories_are_elsewhere() {
    require_root!();
    let mut home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "left", BUSYBOX, "sleep", "1000"]).fine();
    let pid = home.wait_state("left", "left", "running")["pid"].to_string();
    let instance = home.daemon.instance().to_owned();
    let bridge = Path::new("/sys/class/net").join(format!("berth-{instance}"));
    assert!(bridge.exists());
    home.daemon.stop().unwrap();
    let said = berth(&["purge", "--yes", "--instance", &instance]);
    assert_eq!(said.code, 0, "{said:?}");
    // Its bridge tells where it is.
    let root = home.daemon.dir().join("root");
    let state = home.daemon.dir().join("state");
    assert!(said.err.contains(&format!("the state directory {}", state.display())), "{said:?}");
    assert!(!state.exists(), "{}", state.display());
    let words = [format!("/var/lib/berth-{instance}"), format!("the root directory {}", root.display())];
    assert!(words.iter().all(|word| said.err.contains(word)), "{said:?}");
    assert!(!bridge.exists() && !root.exists());
    assert!(wait_until(LIMIT, || !Path::new("/proc").join(&pid).exists()));
    let said = berth(&["purge", "--yes", "--instance", &instance]);
    assert!(said.code == 0 && said.err.contains("there is nothing of this instance"), "{said:?}");
}
