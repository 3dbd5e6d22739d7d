//! The terminal of a bundle that is run in the foreground.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio as Std;

use serde_json::json;

mod support;
use support::bundle::{Bundle, Runtime};
use support::root;

#[test]
fn a_bundle_with_a_terminal_works_over_pipes() {
    if !root("a_bundle_with_a_terminal_works_over_pipes") {
        return;
    }
    let mut bundle = Bundle::new("test -t 0 && test -t 1 && echo terminal; cat");
    bundle.config["process"]["terminal"] = json!(true);
    let mut child = bundle.command(Runtime::Ours).stdout(Std::piped()).spawn().expect("spawn");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("read");
    assert_eq!(line, "terminal\r\n");
    // Echoed by the terminal, repeated by cat; the control character is the end of input.
    stdin.write_all(b"hi\n\x04").expect("write");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "hi\r\nhi\r\n");
    assert_eq!(child.wait().expect("wait").code(), Some(0));
}

/// An init that opens its console for each message closes it in between.
#[test]
fn a_terminal_that_is_closed_and_opened_again_goes_on() {
    if !root("a_terminal_that_is_closed_and_opened_again_goes_on") {
        return;
    }
    let script = "exec </dev/null >/dev/null 2>&1; read x < /go; echo $x > /dev/console";
    let mut bundle = Bundle::new(script);
    bundle.config["process"]["terminal"] = json!(true);
    let go = bundle.rootfs().join("go");
    rustix::fs::mknodat(rustix::fs::CWD, &go, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("mkfifo");
    let child = bundle.command(Runtime::Ours).stdout(Std::piped()).spawn().expect("spawn");
    // It opens when the script reads, and has released its terminal.
    std::fs::write(&go, "again\n").expect("write");
    let output = child.wait_with_output().expect("wait");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "again\r\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_a_container_leaves_behind_does_not_keep_its_terminal() {
    if !root("what_a_container_leaves_behind_does_not_keep_its_terminal") {
        return;
    }
    let mut bundle = Bundle::new("trap '' HUP; sleep 100000 & echo done");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
    bundle.config["hostname"] = json!("");
    assert_eq!(bundle.ours(), (0, "done\r\n".to_owned()));
}

#[test]
fn a_terminal_has_the_size_of_the_configuration_when_the_caller_has_none() {
    if !root("a_terminal_has_the_size_of_the_configuration_when_the_caller_has_none") {
        return;
    }
    let mut bundle = Bundle::new("read x; stty size");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["consoleSize"] = json!({ "height": 10, "width": 20 });
    let pty = berth_sys::pty::open(
        rustix::fs::open("/dev/pts/ptmx", berth_sys::pty::MULTIPLEXER, rustix::fs::Mode::empty())
            .expect("open a multiplexer"),
    )
    .expect("open a terminal");
    let mut command = bundle.command(Runtime::Ours);
    let mut child = command.stdin(pty.slave).stdout(Std::piped()).spawn().expect("spawn");
    // What is typed goes through when the terminal is being served, and has its size.
    rustix::io::write(&pty.master, b"go\n").expect("write");
    let mut output = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut output).expect("read");
    assert_eq!(output, "go\r\n10 20\r\n");
    assert_eq!(child.wait().expect("wait").code(), Some(0));
}
