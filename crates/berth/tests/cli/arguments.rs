//! Arguments that are wrong, and help.

use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home, program};
use crate::terminal::Terminal;

fn berth(arguments: &[&str]) -> crate::home::Said {
    let mut command = std::process::Command::new(program());
    command.args(arguments).stdin(std::process::Stdio::null());
    command.env_remove("BERTH_HOST").env_remove("BERTH_INSTANCE");
    crate::home::Call::spawn(command).end()
}

#[test]
fn help_is_asked_for_or_given_with_an_error() {
    let help = berth(&["--help"]).fine();
    assert!(help.contains("Usage: berth") && help.contains("berth play pod.yaml"), "{help}");
    let said = berth(&[]);
    assert!(said.err.contains("Usage: berth") && said.err.contains("  run "), "{said:?}");
    said.refused();
    for command in [
        "run",
        "play",
        "down",
        "ps",
        "pods",
        "logs",
        "exec",
        "attach",
        "stop",
        "rm",
        "wait",
        "pull",
        "images",
        "rmi",
        "load",
        "save",
        "inspect",
        "doctor",
        "purge",
        "serve",
        "version",
        "start",
        "restart",
        "kill",
        "cp",
        "port-forward",
        "top",
        "stats",
        "events",
        "describe",
        "explain",
        "tag",
        "prune",
        "system",
        "config",
        "commit",
        "export",
        "import",
        "kube",
        "login",
    ] {
        let help = berth(&[command, "--help"]).fine();
        assert!(help.contains(&format!("Usage: berth {command}")), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 110), "{help}");
    }
    assert!(berth(&["--version"]).fine().starts_with("berth "));
}

#[test]
fn invalid_arguments_are_reported_in_one_line() {
    for (arguments, word) in [
        (&["nosuch"][..], "unrecognized subcommand 'nosuch'"),
        (&["run"], "<IMAGE>"),
        (&["run", "--nosuch", "x"], "--nosuch"),
        (&["ps", "-o", "xml"], "[possible values: table, wide, json, yaml, name]"),
        (&["run", "--network", "container:x", "x"], "are one pod"),
        (&["run", "--network", "mine", "x"], "expected pod, host or none"),
        (&["run", "--userns", "keep-id", "x"], "expected auto"),
        (&["export", "-o", "/nosuch/dir/x.tar", "x"], "/nosuch/dir/x.tar"),
        (&["import"], "<FILE>"),
        (&["commit"], "<CONTAINER>"),
        (&["run", "-it", "x"], "standard input is not a terminal"),
        (&["exec", "-it", "x", "sh"], "standard input is not a terminal"),
        (&["logs"], "<CONTAINER>"),
        (&["pause-all"], "unrecognized subcommand"),
        (&["build", "."], "Berth builds no images"),
        (&["exec", "x"], "<COMMAND>"),
        (&["logs", "-n", "many", "x"], "many"),
        (&["logs", "--since", "yesterday", "x"], "an age such as 30s"),
        (&["--instance", "UPPER", "ps"], "UPPER"),
        (&["--host", "tcp://1.2.3.4", "ps"], "unix:///"),
        (&["--host", "unix:///nosuch/socket", "ps"], "/nosuch/socket"),
    ] {
        let said = berth(arguments);
        assert!(said.err.contains(word), "{arguments:?}: {said:?}");
        assert_eq!(said.out, "", "{arguments:?}");
        said.refused();
    }
}

#[test]
fn errors_are_red_on_a_terminal_that_may_have_colours() {
    let shown = |no_color: Option<&str>| {
        let mut terminal = Terminal::open(24, 80);
        let mut command = std::process::Command::new(program());
        command.args(["--host", "unix:///nosuch/socket", "ps"]).env_remove("BERTH_INSTANCE");
        match no_color {
            Some(value) => command.env("NO_COLOR", value),
            None => command.env_remove("NO_COLOR"),
        };
        let mut child = terminal.run(&command);
        terminal.expect("hint: start one with: berth serve");
        assert_eq!(terminal.end(&mut child), 125);
        terminal.text()
    };
    assert!(shown(None).starts_with("\x1b[31mberth: no daemon is listening"), "{:?}", shown(None));
    assert!(!shown(Some("1")).contains('\x1b'), "{:?}", shown(Some("1")));
}

#[test]
fn values_that_make_no_sense_are_named_and_leave_nothing() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    for (flags, words) in [
        (&["-v", "d:/mnt"][..], &["--volume", "volume's name"][..]),
        (&["-v", "/tmp:/mnt:rx"], &["--volume", "rx"]),
        (&["-v", "tmp"], &["--volume", "PATH:PATH"]),
        (&["--ulimit", "nofile=9:8"], &["--ulimit", "above the hard limit"]),
        (&["--ulimit", "files=9"], &["--ulimit", "is none of core"]),
        (&["-v", "/tmp:mnt"], &["mnt"]),
        (&["-p", "80-"], &["--publish", "PORT:]PORT"]),
        (&["-p", "x:80"], &["--publish", "\"x\" is not a port"]),
        (&["-p", "80:80/icmp"], &["--publish", "ICMP"]),
        (&["-m", "lots"], &["memory", "lots"]),
        (&["--cpus", "many"], &["cpu", "many"]),
        (&["--cap-add", "NOSUCH"], &["NOSUCH"]),
        (&["--name", "not/a/name"], &["not/a/name"]),
        (&["-l", "novalue"], &["--label", "KEY=VALUE"]),
        (&["-w", "relative"], &["relative"]),
        (&["-d", "-i"], &["-d and -i"]),
        (&["--rm", "--restart", "always"], &["--rm and --restart"]),
    ] {
        let said = home.berth(&[&["run"], flags, &[BUSYBOX, "true"]].concat());
        for word in words {
            assert!(said.err.contains(word), "{flags:?} without {word:?}: {said:?}");
        }
        assert!(said.err.starts_with("berth: ") && said.err.lines().count() <= 2, "{flags:?}: {said:?}");
        assert_eq!((said.code, said.out.as_str()), (125, ""), "{flags:?}: {said:?}");
    }
    home.clean();
}

#[test]
fn a_flag_wins_over_the_environment() {
    let called = |arguments: &[&str]| {
        let mut command = std::process::Command::new(program());
        command.args(arguments).stdin(std::process::Stdio::null());
        command.env("BERTH_HOST", "unix:///nosuch/of-the-environment").env("BERTH_INSTANCE", "UPPER");
        crate::home::Call::spawn(command).end().refused()
    };
    assert!(called(&["ps"]).contains("/nosuch/of-the-environment"));
    assert!(called(&["--host", "unix:///nosuch/of-the-flag", "ps"]).contains("/nosuch/of-the-flag"));
    assert!(called(&["--instance", "no-such", "--no-autostart", "ps"]).contains("/run/berth-no-such/"));
    let both = called(&["--instance", "x", "--host", "unix:///y", "ps"]);
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn a_directory_that_is_not_a_daemons_is_not_purged() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("precious");
    std::fs::write(&file, "").unwrap();
    let (foreign, none) = (dir.path().display().to_string(), "/nosuch/directory".to_owned());
    for (root, state, flag) in [(&foreign, &none, "--root"), (&none, &foreign, "--state")] {
        let err =
            berth(&["--instance", "no-such", "purge", "--yes", "--root", root, "--state", state]).refused();
        assert!(err.contains(flag) && err.contains("precious"), "{err}");
    }
    assert!(file.exists());
    // Nor another one than that of the socket.
    let err = berth(&["--host", "unix:///nosuch/socket", "purge", "--yes"]).refused();
    assert!(err.contains("no daemon is listening on unix:///nosuch/socket"), "{err}");
}
