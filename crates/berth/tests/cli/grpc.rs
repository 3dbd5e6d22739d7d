//! Clients that are not Go's: gRPC's C core, by Debian's Python binding.

use std::path::Path;
use std::process::Command;

use berth_testkit::{require, require_root};

use crate::home::{BUSYBOX, Call, Home};

/// Debian's, which its packages are for, and not another that is first on the PATH.
const PYTHON: &str = "/usr/bin/python3";

/// An `:authority` that is a socket's path, percent-encoded as the C core and grpc-swift send it or as it is as grpc-java does, a
/// host with a port, and what is neither: every service and every kind of call works, with large messages too.
#[test]
fn a_client_of_the_c_core_is_answered_whatever_authority_it_sends() {
    require_root!();
    let python =
        || Command::new(PYTHON).args(["-c", "import grpc"]).output().is_ok_and(|o| o.status.success());
    require!(Path::new(PYTHON).exists() && python(), "needs the package python3-grpcio");
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/grpc.py");
    let mut client = Command::new(PYTHON);
    client.arg(script).arg(home.daemon.socket()).arg(BUSYBOX).env("PYTHONDONTWRITEBYTECODE", "1");
    let said = Call::spawn(client).end().fine();
    assert!(said.ends_with(" 7 authorities\n"), "{said}");
    home.clean();
}
