//! Terminals: of a bundle that is run in the foreground, and of those whose master goes to a console socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio as Std;

use serde_json::json;

mod support;
use support::bundle::{Bundle, Runtime, oracles};
use support::life::Life;
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

/// A container that reads nothing of what is pasted into it: signals reach it all the same.
#[test]
fn input_that_nobody_reads_does_not_keep_signals_from_a_container() {
    if !root("input_that_nobody_reads_does_not_keep_signals_from_a_container") {
        return;
    }
    let mut bundle = Bundle::new("trap 'exit 9' TERM; echo ready; while :; do sleep 1000 & wait; done");
    bundle.config["process"]["terminal"] = json!(true);
    let mut child = bundle.command(Runtime::Ours).stdout(Std::piped()).spawn().expect("spawn");
    let stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("read");
    assert_eq!(line, "ready\r\n");
    // What the terminal echoes.
    let reader = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    rustix::io::ioctl_fionbio(&stdin, true).expect("ioctl");
    // Until nothing more is taken, by the terminal and by who serves it.
    let mut full = 0;
    while full < 100_000 {
        match rustix::io::write(&stdin, &b"x\n".repeat(2048)) {
            Ok(_) => full = 0,
            Err(rustix::io::Errno::AGAIN) => full += 1,
            Err(e) => panic!("{e}"),
        }
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    let ended = || child.try_wait().expect("wait").is_some();
    support::life::wait_until(ended, || "the signal does not arrive".into());
    assert_eq!(child.wait().expect("wait").code(), Some(9));
    drop(reader.join().expect("the reader"));
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

/// What waits for a terminal at a console socket, as conmon and containerd's shim do.
struct Receiver {
    path: std::path::PathBuf,
    listener: std::os::unix::net::UnixListener,
}

impl Receiver {
    fn new(dir: &std::path::Path) -> Self {
        let path = dir.join("console");
        drop(std::fs::remove_file(&path));
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        Self { path, listener }
    }

    /// The terminal that was sent, as a file.
    fn terminal(&self) -> std::fs::File {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        let (socket, _) = self.listener.accept().expect("accept");
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0u8; 64];
        let bytes = &mut [std::io::IoSliceMut::new(&mut name)];
        let got = recvmsg(&socket, bytes, &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg");
        assert!(got.bytes > 0, "a name comes with the terminal");
        let mut fds = control.drain().filter_map(|item| match item {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fd = fds.next().and_then(|mut fds| fds.next()).expect("a descriptor");
        std::fs::File::from(fd)
    }
}

#[test]
fn a_terminal_is_sent_to_the_console_socket() {
    let test = "a_terminal_is_sent_to_the_console_socket";
    if !root(test) {
        return;
    }
    for runtime in std::iter::once(Runtime::Ours).chain(oracles(test)) {
        let mut bundle =
            Bundle::new("stty size; tty=$(readlink /proc/self/fd/0); echo $tty; read word; echo got $word");
        bundle.config["process"]["terminal"] = json!(true);
        bundle.config["process"]["consoleSize"] = json!({ "height": 33, "width": 111 });
        let receiver = Receiver::new(bundle.path());
        let life = Life::new(&bundle, runtime);
        life.create(&["--console-socket", receiver.path.to_str().expect("a path")]).fine();
        let mut terminal = receiver.terminal();
        life.verb("start").fine();
        terminal.write_all(b"hi\n").expect("write");
        let mut text = String::new();
        // All that is there; EIO when the last that has it open is gone.
        drop(terminal.read_to_string(&mut text));
        for line in ["33 111\r\n", "/dev/pts/0\r\n", "got hi\r\n"] {
            assert!(text.contains(line), "{runtime:?}: {text:?}");
        }
        life.until("stopped");
    }
}

#[test]
fn a_terminal_of_a_further_process_too() {
    if !root("a_terminal_of_a_further_process_too") {
        return;
    }
    let bundle = Bundle::new("sleep 1000");
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    life.verb("start").fine();
    let receiver = Receiver::new(bundle.path());
    let (socket, pid_file) = (receiver.path.to_str().expect("a path"), bundle.path().join("pid"));
    let pid_option = pid_file.to_str().expect("a path");
    let words = ["exec", "--tty", "--detach", "--console-socket", socket, "--pid-file", pid_option, &life.id];
    life.call(&[&words[..], &["sh", "-c", "test -t 1 && echo terminal"]].concat()).fine();
    let mut text = String::new();
    drop(receiver.terminal().read_to_string(&mut text));
    assert_eq!(text, "terminal\r\n");
    assert!(std::fs::read_to_string(&pid_file).expect("the pid file").parse::<u32>().is_ok());
    life.call(&["exec", "--tty", "--detach", &life.id, "true"]).refused("--console-socket");
    life.call(&["exec", "--console-socket", socket, &life.id, "true"]).refused("no terminal");
}

#[test]
fn a_terminal_without_a_receiver_is_refused() {
    if !root("a_terminal_without_a_receiver_is_refused") {
        return;
    }
    let mut bundle = Bundle::new("true");
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&["--console-socket", "/no/such/socket"]).refused("--console-socket");
    drop(life);
    bundle.config["process"]["terminal"] = json!(true);
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).refused("--console-socket");
    life.create(&["--console-socket", "/no/such/socket"]).refused("/no/such/socket");
    life.verb("state").refused("does not exist");
    assert!(!life.has_cgroup());
}
