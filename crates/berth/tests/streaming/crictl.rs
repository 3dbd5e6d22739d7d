//! crictl, as operators use it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};

use berth_testkit::guard::free_port;
use berth_testkit::{require, require_root, wait_until};

use crate::home::{Call, LIMIT};
use crate::world::World;

/// contract 50
#[test]
fn exec_attach_and_port_forward_work() {
    require_root!();
    let program = std::env::var_os("BERTH_CRICTL");
    require!(program.is_some(), "no crictl was built (cargo xtask conformance builds it)");
    let (world, program) = (World::start(), program.unwrap());
    let crictl = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["-r", &world.home.daemon.endpoint()]).args(arguments).stdin(Stdio::null());
        command
    };
    for transport in ["spdy", "websocket"] {
        let run = ["exec", "--transport", transport, &world.container, "sh", "-c"];
        let said = Call::spawn(crictl(&[&run[..], &["echo out; echo err >&2"]].concat())).end();
        assert_eq!((said.code, said.out.as_str()), (0, "out\n"), "{transport}: {said:?}");
        // It says that it has no configuration, too.
        assert!(said.err.ends_with("err\n"), "{transport}: {said:?}");
        let said = Call::spawn(crictl(&[&run[..], &["exit 3"]].concat())).end();
        assert!(said.code != 0 && said.err.contains("exit code 3"), "{transport}: {said:?}");
        let mut command = crictl(&["exec", "-i", "--transport", transport, &world.container, "cat"]);
        let mut call = Call::spawn({
            command.stdin(Stdio::piped());
            command
        });
        call.stdin().write_all(b"typed").unwrap();
        assert_eq!(call.end().fine(), "typed", "{transport}");
    }
    let speaker = world.run("speaker", "while :; do echo word; sleep 0.1; done", |_| ());
    let call = Call::spawn(crictl(&["attach", &speaker]));
    call.shows("word\nword\n");
    call.kill();
    std::thread::spawn({
        let listener = world.listen((Ipv4Addr::LOCALHOST, 8001).into());
        move || {
            for stream in listener.incoming() {
                stream.unwrap().write_all(b"page").unwrap();
            }
        }
    });
    let port = free_port();
    let call = Call::spawn(crictl(&["port-forward", &world.pod, &format!("{port}:8001")]));
    let served = || {
        let mut text = String::new();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        stream.is_ok_and(|mut stream| stream.read_to_string(&mut text).is_ok() && text == "page")
    };
    assert!(wait_until(LIMIT, served), "nothing is forwarded");
    call.kill();
    world.end();
}
