//! The daemon's configuration: read, shown, and read again while pods run.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::home::{BUSYBOX, Home, LIMIT, program};
use berth_testkit::guard::wait_until;
use berth_testkit::{require, require_root};

fn berth(dir: &Path, arguments: &[&str]) -> crate::home::Said {
    let mut command = std::process::Command::new(program());
    command.args(["config"]).args(arguments).stdin(std::process::Stdio::null()).current_dir(dir);
    command.env_remove("BERTH_HOST").env_remove("BERTH_INSTANCE");
    crate::home::Call::spawn(command).end()
}

#[test]
fn a_configuration_is_checked_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("c.d")).unwrap();
    write("c.toml", "bridge = 'one'\nlog-level = 'warn'\n");
    write("c.d/x.toml", "bridge = 'two'\n");
    let checked = berth(dir.path(), &["check", "--config", "c.toml"]).fine();
    assert_eq!(checked, "c.toml is right\nc.d/x.toml is right\n");
    let shown = berth(dir.path(), &["show", "--config", "c.toml", "-o", "json"]).json();
    let bridge = shown.as_array().unwrap().iter().find(|key| key["key"] == "bridge").unwrap();
    assert_eq!((&bridge["value"], &bridge["from"]["line"]), (&"two".into(), &1.into()), "{bridge}");
    let table = berth(dir.path(), &["show", "--config", "c.toml"]).fine();
    assert!(
        table.lines().any(|line| line.starts_with("log-level ") && line.ends_with("c.toml:2")),
        "{table}"
    );

    write("c.d/x.toml", "\nbrigde = 'two'\nnetwork = 1\n");
    let said = berth(dir.path(), &["check", "--config", "c.toml"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    let lines: Vec<_> = said.err.lines().collect();
    assert!(lines[0].ends_with("c.d/x.toml:2:1: there is no key \"brigde\""), "{said:?}");
    assert_eq!(lines[1], "  hint: did you mean bridge?");
    assert!(lines[2].contains("c.d/x.toml:3:1: network: expected one of cni, builtin, none"), "{said:?}");

    write("default.toml", &berth(dir.path(), &["default"]).fine());
    berth(dir.path(), &["check", "--config", "default.toml"]).fine();
}

#[test]
fn a_daemon_reads_its_configuration_again() {
    require_root!();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("berth.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("short-name-host = []\ndefault-handler = 'native'\n");
    let home = Home::start_with(program(), &["--config", file.to_str().unwrap()]);
    let again = |words: &str| {
        let pid = Pid::from_raw(i32::try_from(home.daemon.pid().unwrap()).unwrap()).unwrap();
        let before = home.daemon.log().matches(words).count();
        kill_process(pid, Signal::HUP).unwrap();
        let told = wait_until(LIMIT, || home.daemon.log().matches(words).count() > before);
        assert!(told, "{words:?} was not told: {}", home.daemon.log());
    };
    let short = BUSYBOX.strip_prefix("docker.io/library/").unwrap();
    let refused = home.berth(&["pull", "-q", short]).refused();
    assert!(refused.contains("short"), "{refused}");

    write("short-name-host = ['docker.io']\ndefault-handler = 'runc'\nlog-level = 'debug'\n");
    again("default-handler: changed from \"native\" to \"runc\"; takes effect at the next start");
    let level = || home.daemon.log().contains("log-level: changed from \"info\" to \"debug\"\n");
    assert!(wait_until(LIMIT, level), "{}", home.daemon.log());
    home.berth(&["pull", "-q", short]).fine();

    write("short-name-host = ['docker.io']\nnetwrok = 'none'\n");
    again("the configuration was not changed");
    let log = home.daemon.log();
    assert!(log.contains("did you mean network?") && log.contains("berth.toml:2:1"), "{log}");
    home.berth(&["pull", "-q", short]).fine();

    write("short-name-host = ['docker.io']\ndefault-handler = 'native'\nlog-level = 'debug'\n");
    again("nothing has changed");
    home.clean();
}

#[test]
fn what_containerd_says_of_itself_is_imported() {
    require!(Path::new("/usr/bin/containerd").exists(), "needs the package containerd");
    let dir = tempfile::tempdir().unwrap();
    let said = std::process::Command::new("containerd").args(["config", "default"]).output().unwrap();
    let file = dir.path().join("containerd.toml");
    std::fs::write(&file, &said.stdout).unwrap();
    let made = berth(dir.path(), &["import", file.to_str().unwrap()]).fine();
    assert!(made.contains("\ncni-bin-dir = [\"/opt/cni/bin\"]\n"), "{made}");
    assert!(!made.contains("These are not known"), "{made}");
    std::fs::write(dir.path().join("berth.toml"), &made).unwrap();
    assert_eq!(berth(dir.path(), &["check", "--config", "berth.toml"]).fine(), "berth.toml is right\n");
}
