//! What a bundle may not have, and what it gets where it says nothing.

use serde_json::json;

mod support;
use support::bundle::{Bundle, Runtime, oracles, text};
use support::root;

/// Nothing but a procfs may lie on /proc: what is sealed and masked below it, and written to, must be the kernel's.
#[test]
fn only_a_procfs_lies_on_proc() {
    if !root("only_a_procfs_lies_on_proc") {
        return;
    }
    let host = tempfile::tempdir().expect("tempdir");
    std::fs::write(host.path().join("mark"), "fake").expect("write");
    let source = host.path().to_str().expect("text");
    for (mount, says) in [
        (json!({ "destination": "/proc", "type": "bind", "source": source }), "only a procfs"),
        (
            json!({ "destination": "/x/../proc/", "source": source, "options": ["rbind", "ro"] }),
            "only a procfs",
        ),
        (
            json!({ "destination": "/proc", "type": "tmpfs", "source": "tmpfs" }),
            "type tmpfs may not be mounted on /proc",
        ),
        (
            json!({ "destination": "/proc/sys", "type": "bind", "source": source }),
            "/proc/sys must not be mounted over",
        ),
    ] {
        let mut bundle = Bundle::new("cat /proc/mark");
        bundle.config["mounts"][0] = mount;
        bundle.config["linux"]["maskedPaths"] = json!([]);
        bundle.config["linux"]["readonlyPaths"] = json!([]);
        let (code, output) = bundle.ours();
        assert!(code == 1 && output.contains(says), "{code} {output}");
    }
    // The host's own may be bound.
    let mut bundle = Bundle::new("test -e /proc/self && echo seen");
    bundle.config["mounts"][0] =
        json!({ "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"] });
    bundle.config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
    bundle.config["hostname"] = json!("");
    let (code, output) = bundle.ours();
    assert_eq!((code, output.as_str()), (0, "seen\n"));
}

/// A device that no rule allows cannot be opened, whether there are no rules or only such that allow others.
#[test]
fn devices_that_no_rule_allows_are_denied_as_under_runc() {
    let test = "devices_that_no_rule_allows_are_denied_as_under_runc";
    if !root(test) {
        return;
    }
    let mut runtimes: Vec<Runtime> = oracles(test).into_iter().filter(|r| *r == Runtime::Runc).collect();
    runtimes.push(Runtime::Ours);
    let allow = json!([{ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" }]);
    for rules in [json!({}), json!({ "devices": [] }), json!({ "devices": allow })] {
        let mut bundle = Bundle::new(
            "for d in kmsg mem null zero; do dd if=/dev/$d of=/dev/null count=0 2>/dev/null && echo $d; done",
        );
        bundle.config["linux"]["resources"] = rules.clone();
        // 1:11 is kmsg, 1:1 is mem: the shell is root and owns both nodes.
        bundle.config["linux"]["devices"] = json!([
            { "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 438 },
            { "path": "/dev/mem", "type": "c", "major": 1, "minor": 1, "fileMode": 438 }
        ]);
        for set in ["bounding", "effective", "permitted"] {
            bundle.config["process"]["capabilities"][set] = json!(["CAP_SYS_RAWIO", "CAP_SYSLOG"]);
        }
        for runtime in &runtimes {
            assert_eq!(text(&bundle.run(*runtime)), "null\nzero\n", "{runtime:?} {rules}");
        }
    }
}

/// A limit in which no process fits is named.
#[test]
fn a_memory_limit_that_is_too_small_is_named() {
    if !root("a_memory_limit_that_is_too_small_is_named") {
        return;
    }
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["resources"] = json!({ "memory": { "limit": 16384 } });
    let (code, output) = bundle.ours();
    assert!(code == 1 && output.contains("memory limit of 16384 bytes is too small"), "{code} {output}");
}

/// A profile that cannot be given is refused by its name, on a host without AppArmor and on one with it.
#[test]
fn an_apparmor_profile_that_is_not_there_is_refused() {
    if !root("an_apparmor_profile_that_is_not_there_is_refused") {
        return;
    }
    let says = match berth_sys::apparmor::in_force() {
        true => "\"berth-no-such-profile\", which is not loaded",
        false => "\"berth-no-such-profile\": AppArmor is not in force",
    };
    let mut bundle = Bundle::new("echo ran");
    bundle.config["process"]["apparmorProfile"] = json!("berth-no-such-profile");
    let (code, output) = bundle.ours();
    assert!(code == 1 && output.contains(says), "{code} {output}");
    bundle.config["process"]["apparmorProfile"] = json!("unconfined");
    let (code, output) = bundle.ours();
    assert_eq!((code, output.as_str()), (0, "ran\n"));
}
