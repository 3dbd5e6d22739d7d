//! The pod of docs/hooks.md, run as it is written there: a device, a hook and a plugin.

use berth_testkit::guard::has_program;
use berth_testkit::{require, require_root};

use crate::home::{Home, program};
use crate::plugin::Plugin;

const DOCUMENT: &str = include_str!("../../../../docs/hooks.md");

/// The blocks of the section, in their order.
fn blocks() -> Vec<String> {
    let section = DOCUMENT.split_once("## A pod with a device, a hook and a plugin").expect("the section").1;
    section
        .split("```")
        .skip(1)
        .step_by(2)
        .map(|block| block.split_once('\n').unwrap().1.to_owned())
        .collect()
}

#[test]
fn a_pod_with_a_device_a_hook_and_a_plugin_as_documented() {
    require_root!();
    require!(has_program("go"), "needs Go");
    let blocks = blocks();
    let [device, hook, plugin, run, shown] = blocks.as_slice() else { panic!("{blocks:?}") };
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str| dir.path().join(name);
    for (name, file, text) in [("cdi", "example.yaml", device), ("hooks.d", "banner.json", hook)] {
        std::fs::create_dir(of(name)).unwrap();
        std::fs::write(of(name).join(file), text).unwrap();
    }
    let (cdi, hooks) = (of("cdi").display().to_string(), of("hooks.d").display().to_string());
    let home = Home::start_with(program(), &["--cdi-dir", &cdi, "--hooks-dir", &hooks]);
    assert!(plugin.contains("-name inject -index 10 -mode inject"), "{plugin}");
    let plugin = Plugin::connect(&home.daemon.dir().join("state/nri.sock"), "10", "inject", dir.path());
    plugin.hears("Synchronize", "");
    // As a shell takes it, with the program and the daemon of this test.
    let line = format!("berth() {{ printf '%s\\0' \"$@\"; }}; {run}");
    let mut words = std::process::Command::new("sh").args(["-c", &line]).output().unwrap().stdout;
    assert_eq!(words.pop(), Some(0), "{run}");
    let words: Vec<String> =
        words.split(|byte| *byte == 0).map(|word| String::from_utf8(word.to_vec()).unwrap()).collect();
    let (verb, rest) = words.split_first().unwrap();
    let words: Vec<&str> = [verb.as_str(), "-q"].into_iter().chain(rest.iter().map(String::as_str)).collect();
    assert_eq!(home.berth(&words).fine(), *shown);
    drop(plugin);
    home.clean();
}
