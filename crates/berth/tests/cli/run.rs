//! `berth run`.

use std::time::Duration;

use berth_testkit::guard::{free_port, wait_until};
use berth_testkit::image::standin;
use berth_testkit::registry::{Fault, FaultAction, On};
use berth_testkit::{Registry, require_root};
use rustix::process::Signal;

use crate::home::{BUSYBOX, DEMO, Home, LIMIT, page};
use crate::terminal::Terminal;

#[test]
fn the_exit_status_and_both_outputs_are_the_containers() {
    require_root!();
    let home = Home::start();
    let said = home.berth(&["run", "--rm", BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((said.code, said.out.as_str()), (7, "out\n"));
    assert!(said.err.ends_with("err\n"), "{said:?}");
    // Not a terminal: lines, one for each layer.
    assert!(said.err.starts_with(&format!("{BUSYBOX}: pulling\n{BUSYBOX}: layer ")), "{said:?}");
    assert!(said.err.contains(&format!("{BUSYBOX}: pulled ")), "{said:?}");
    assert!(!said.err.contains('\x1b'), "{said:?}");

    let said = home.berth(&["run", "--rm", BUSYBOX, "true"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""));
    let said = home.berth(&["run", "--rm", BUSYBOX, "nosuch"]);
    assert_eq!(said.code, 127, "{said:?}");
    assert!(said.err.contains(r#""nosuch": not found in the container"#), "{said:?}");
    let said = home.berth(&["run", "--rm", BUSYBOX, "/etc"]);
    assert_eq!(said.code, 126, "{said:?}");
    let said = home.berth(&["run", "--rm", BUSYBOX, "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]);
    assert_eq!(said.code, 137, "{said:?}");
    home.clean();
}

#[test]
fn images_that_are_not_there_are_named() {
    require_root!();
    let home = Home::start();
    let err = home.berth(&["run", "--rm", "docker.io/library/nosuch"]).refused();
    assert!(err.contains("docker.io/library/nosuch"), "{err}");
    assert!(err.contains("not found"), "{err}");
    let err = home.berth(&["run", "--rm", "busybox"]).refused();
    assert!(err.contains("\"busybox\" names no registry"), "{err}");
    assert!(err.contains("hint: write it in full, as in docker.io/library/busybox:latest"), "{err}");
    let err = home.berth(&["run", "--rm", "--pull", "never", BUSYBOX]).refused();
    assert!(err.contains("is not present"), "{err}");
    let err = home.berth(&["run", "--rm", "UPPER/CASE"]).refused();
    assert!(err.contains("UPPER/CASE"), "{err}");
    home.clean();
}

#[test]
fn standard_input_reaches_the_container_only_when_asked() {
    require_root!();
    let home = Home::start();
    let text = "0123456789abcde\n".repeat(64 << 10);
    let count = home.feed(&["run", "--rm", "-q", "-i", BUSYBOX, "wc", "-c"], text.as_bytes()).fine();
    assert_eq!(count.trim(), text.len().to_string());
    let copied = home.feed(&["run", "--rm", "-i", BUSYBOX, "cat"], text.as_bytes()).fine();
    assert!(copied == text, "{} bytes came back of {}", copied.len(), text.len());
    let none = home.feed(&["run", "--rm", BUSYBOX, "cat"], b"not for you").fine();
    assert_eq!(none, "");
    home.clean();
}

#[test]
fn a_terminal_is_a_terminal() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let mut terminal = Terminal::open(30, 100);
    let mut child = terminal.run(&home.command(&["run", "-it", "--rm", BUSYBOX, "sh"]));
    terminal.expect("# ");
    terminal.keys("tty; stty size\n");
    terminal.expect("/dev/pts/0\r\n30 100\r\n");
    terminal.resize(20, 70);
    terminal.keys("until stty size | grep '^20 70$'; do :; done\n");
    terminal.expect("\r\n20 70\r\n");
    // The key interrupts what runs, and not the session.
    terminal.keys("sh -c 'echo read\"\"y; exec cat'\n");
    terminal.expect("ready\r\n");
    // The key also throws away what was typed and not read.
    terminal.keys("\x03");
    terminal.expect("# ");
    terminal.keys("echo ag''ain\n");
    terminal.expect("again\r\n");
    terminal.keys("exit 3\n");
    assert_eq!(terminal.end(&mut child), 3);
    assert!(!terminal.is_raw(), "the terminal is not as it was");
    home.clean();
}

#[test]
fn ctrl_p_and_ctrl_q_leave_a_container_that_goes_on() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let mut terminal = Terminal::open(24, 80);
    let mut child = terminal.run(&home.command(&["run", "-it", "--rm", "--name", "left", BUSYBOX, "sh"]));
    terminal.expect("# ");
    terminal.keys("x=ke''pt\n\x10\x11");
    terminal.expect("berth attach left joins it again");
    assert_eq!(terminal.end(&mut child), 0);
    assert!(!terminal.is_raw(), "the terminal is not as it was");
    home.wait_state("left", "left", "running");
    let mut terminal = Terminal::open(24, 80);
    let mut child = terminal.run(&home.command(&["attach", "left"]));
    terminal.keys("echo still $x\n");
    terminal.expect("still kept");
    terminal.keys("exit 3\n");
    assert_eq!(terminal.end(&mut child), 3);
    home.clean();
}

#[test]
fn ctrl_c_stops_and_a_second_one_kills() {
    require_root!();
    let home = Home::start();
    let line = "trap 'echo bye; exit 5' TERM; echo ready; sleep 1000 & wait";
    let call = home.spawn(&["run", "--rm", "-q", "--name", "one", BUSYBOX, "sh", "-c", line]);
    call.shows("ready\n");
    call.signal(Signal::INT);
    let said = call.end();
    assert_eq!((said.code, said.out.as_str()), (5, "ready\nbye\n"), "{said:?}");

    let line = "trap 'echo no' TERM; echo ready; sleep 1000 & while :; do wait $!; done";
    let call = home.spawn(&["run", "--rm", "-q", "--name", "two", BUSYBOX, "sh", "-c", line]);
    call.shows("ready\n");
    call.signal(Signal::INT);
    call.shows("no\n");
    call.signal(Signal::INT);
    let said = call.end();
    assert_eq!(said.code, 137, "{said:?}");
    home.clean();
}

#[test]
fn a_terminal_without_input_leaves_ctrl_c_to_the_command_line() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let mut terminal = Terminal::open(24, 80);
    let line = "trap 'exit 6' TERM; echo read''y; sleep 1000 & wait";
    let mut child = terminal.run(&home.command(&["run", "-t", "--rm", BUSYBOX, "sh", "-c", line]));
    terminal.expect("ready");
    terminal.keys("\x03");
    terminal.expect("stopping; press Ctrl-C again to kill");
    assert_eq!(terminal.end(&mut child), 6);
    home.clean();
}

#[test]
fn a_container_that_is_to_be_removed_is_so_without_its_command_line() {
    require_root!();
    let home = Home::start();
    let fifo = home.dir.path().join("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let volume = format!("{}:/go", fifo.display());
    let line = "echo ready; cat /go";
    let call =
        home.spawn(&["run", "--rm", "-q", "--name", "alone", "-v", &volume, BUSYBOX, "sh", "-c", line]);
    call.shows("ready\n");
    call.kill();
    assert_eq!(home.wait_state("alone", "alone", "running")["name"], "alone");
    drop(std::fs::File::options().write(true).open(&fifo).unwrap());
    home.clean();
}

#[test]
fn a_user_of_the_image_by_name() {
    require_root!();
    let home = Home::start();
    assert_eq!(home.shell(&["-u", "nobody"], "id -un").fine(), "nobody\n");
    let said = home.shell(&["-u", "nosuch"], "id");
    assert!(
        said.code == 125 && said.err.contains("\"nosuch\" is not in the image's /etc/passwd"),
        "{said:?}"
    );
    home.clean();
}

#[test]
fn in_the_background_it_prints_its_id_and_goes_when_it_ends() {
    require_root!();
    let home = Home::start();
    let id = home.berth(&["run", "-d", "-q", "--name", "back", BUSYBOX, "sleep", "1000"]).fine();
    let running = home.wait_state("back", "back", "running");
    assert_eq!(running["id"], id.trim());
    let err = home.berth(&["run", "-d", "--name", "back", BUSYBOX]).refused();
    assert!(err.contains("pod back exists"), "{err}");
    assert!(err.contains("hint: "), "{err}");
    let err = home.berth(&["rm", "back"]);
    assert_eq!(err.code, 1, "{err:?}");
    assert!(err.err.contains("back is running"), "{err:?}");
    assert_eq!(home.berth(&["rm", "-f", "back"]).fine(), "back\n");

    let input = home.dir.path().join("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &input, rustix::fs::Mode::RWXU).unwrap();
    let volume = format!("{}:/go", input.display());
    home.berth(&["run", "-d", "--rm", "--name", "brief", "-v", &volume, BUSYBOX, "cat", "/go"]).fine();
    home.wait_state("brief", "brief", "running");
    std::fs::write(&input, "over\n").unwrap();
    home.clean();
}

#[test]
fn flags_reach_the_container() {
    require_root!();
    let home = Home::start();
    let shared = home.dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("given"), "from outside\n").unwrap();
    let volume = format!("{}:/mnt", shared.display());
    let read_only = format!("{volume}:ro");

    let out = home.shell(&["-e", "A=1 $HOME $(A)", "-e", "EMPTY=", "-e", "UNSET_HERE"], "env").fine();
    assert!(out.contains("\nA=1 $HOME $(A)\n"), "{out}");
    assert!(out.contains("\nEMPTY=\n") && !out.contains("UNSET_HERE"), "{out}");
    assert_eq!(home.shell(&["-w", "/usr"], "pwd").fine(), "/usr\n");
    assert_eq!(home.shell(&["-u", "65534:12"], "id -u; id -g").fine(), "65534\n12\n");
    assert_eq!(home.shell(&["--hostname", "berth-test"], "hostname").fine(), "berth-test\n");
    assert_eq!(home.shell(&["-v", &volume], "cat /mnt/given; echo made > /mnt/new").fine(), "from outside\n");
    assert_eq!(std::fs::read_to_string(shared.join("new")).unwrap(), "made\n");
    let said = home.shell(&["-v", &read_only], "echo no > /mnt/other");
    assert!(said.code != 0 && said.err.contains("Read-only file system"), "{said:?}");
    let said = home.shell(&["--read-only"], "echo no > /tmp/other");
    assert!(said.code != 0 && said.err.contains("Read-only file system"), "{said:?}");
    let effective = "grep CapEff /proc/self/status";
    assert_eq!(home.shell(&["--cap-drop", "ALL"], effective).fine(), "CapEff:\t0000000000000000\n");
    let one = home.shell(&["--cap-drop", "ALL", "--cap-add", "NET_RAW"], effective).fine();
    assert_eq!(one, "CapEff:\t0000000000002000\n");
    let said = home.berth(&["run", "--rm", "--entrypoint", "echo", BUSYBOX, "a", "$HOME", "$(A)"]);
    assert_eq!(said.fine(), "a $HOME $(A)\n");
    let limit =
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(home.shell(&["-m", "64m"], limit).fine(), format!("{}\n", 64 << 20));
    let said = home.shell(&["-m", "8m"], "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo survived");
    assert_eq!(said.code, 137, "{said:?}");
    assert!(said.err.contains("memory ran out: the container's limit of 8388608 bytes was met"), "{said:?}");
    home.clean();
}

#[test]
fn a_published_port_leads_to_the_container() {
    require_root!();
    let home = Home::start();
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:8080");
    home.berth(&["run", "-d", "--name", "web", "-p", &publish, DEMO]).fine();
    let answer = page(&format!("127.0.0.1:{port}"));
    assert!(answer.starts_with("HTTP/1.") && answer.contains("web"), "{answer}");
    let table = home.berth(&["ps"]).fine();
    assert!(table.contains(&format!("127.0.0.1:{port}->8080/tcp")), "{table}");
    let err = home.berth(&["run", "--rm", "--name", "second", "-p", &publish, DEMO]).refused();
    assert!(err.contains(&port.to_string()), "{err}");
    home.berth(&["rm", "-f", "web"]).fine();
    home.clean();
}

#[test]
fn a_client_that_goes_away_while_it_pulls_leaves_nothing() {
    require_root!();
    let registry = Registry::start().unwrap();
    standin::publish_busybox(&registry).unwrap();
    registry.fault(Fault::new(On::Blobs, FaultAction::Slow(Duration::from_millis(50))));
    let home = Home::start();
    let image = format!("{}/library/busybox:latest", registry.host());
    let call = home.spawn(&["run", "--name", "gone", "-q", &image, "sleep", "1000"]);
    assert!(wait_until(LIMIT, || registry.requests().iter().any(|r| r.path.contains("/blobs/"))));
    call.signal(Signal::KILL);
    // The pull goes on, and the pod is made and taken away: its name is free again.
    assert!(wait_until(LIMIT, || home.berth(&["images"]).out.contains(&registry.host())));
    let again = || home.berth(&["run", "--rm", "--name", "gone", &image, "true"]).code == 0;
    assert!(wait_until(LIMIT, again), "{:?}", home.containers());
    home.clean();
}

#[test]
fn a_reader_that_stops_for_a_while_loses_nothing() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let line = "head -c 12000000 /dev/zero; exit 3";
    let mut command = home.command(&["run", "--rm", "--name", "late", BUSYBOX, "sh", "-c", line]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    // All queues on the way fill, and the container waits: longer than any client that came later might keep it waiting.
    let log =
        std::path::PathBuf::from(home.wait_state("late", "late", "running")["logPath"].as_str().unwrap());
    let size = || std::fs::metadata(&log).unwrap().len();
    let (mut last, mut since) = (size(), std::time::Instant::now());
    let stood = wait_until(LIMIT, || {
        let now = size();
        if now != last {
            (last, since) = (now, std::time::Instant::now());
        }
        since.elapsed() > std::time::Duration::from_secs(3)
    });
    assert!(stood && last < 12_000_000, "{last} bytes were written");
    let copied = std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    assert_eq!((copied, child.wait().unwrap().code()), (12_000_000, Some(3)));
    home.clean();
}
