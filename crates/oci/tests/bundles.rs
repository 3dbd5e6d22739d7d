//! Whole bundles, run in the foreground: what hostile ones try, signals, and that a failure leaves nothing.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio as Std;

use berth_testkit::executable;
use serde_json::json;

mod support;
use support::bundle::{Bundle, Runtime, oracles};
use support::root;

/// CVE-2019-5736: a program of the image that is a link to, or a script for, `/proc/self/exe` makes the
/// runtime execute itself inside; its file must not be the host's.
#[test]
fn the_runtime_cannot_be_overwritten_through_proc_self_exe() {
    if !root("the_runtime_cannot_be_overwritten_through_proc_self_exe") {
        return;
    }
    let mut bundle = Bundle::new("");
    // Executed, this is the runtime again, with these arguments, in the container.
    executable::script(bundle.rootfs().join("evil"), "#!/proc/self/exe\n");
    bundle.config["process"]["args"] = json!(["/evil"]);
    for libraries in ["/lib", "/lib64", "/usr/lib"] {
        let mount = json!({ "destination": libraries, "type": "bind", "source": libraries, "options": ["rbind", "ro"] });
        bundle.config["mounts"].as_array_mut().expect("array").push(mount);
    }
    let before = std::fs::read(env!("CARGO_BIN_EXE_berth-oci")).expect("read");
    let (code, output) = bundle.ours();
    // It ran, as the sealed copy, and refused its arguments.
    assert!(code != 0 && output.contains("Usage"), "{code} {output}");
    assert_eq!(std::fs::read(env!("CARGO_BIN_EXE_berth-oci")).expect("read"), before);
}

/// The same from a container that shares its PID namespace and watches for the exec: with all rights it
/// may look, and finds a sealed memfd; a prepared container shows nothing else.
#[test]
fn a_prepared_process_shows_no_file_of_the_host() {
    if !root("a_prepared_process_shows_no_file_of_the_host") {
        return;
    }
    let mut bundle = Bundle::new("readlink /proc/self/exe; cat /proc/1/maps | grep -c memfd");
    let all: Vec<String> =
        berth_container::plan::capability_names(berth_sys::caps::effective().expect("caps"));
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = json!(all);
    }
    let (_, output) = bundle.ours();
    assert_eq!(output, "/bin/busybox\n0\n");
}

/// What a process that waits for its start is executed from is the sealed copy: who may look at it there cannot change the host's
/// program, now or when that runs no more.
#[test]
fn a_process_that_waits_runs_from_a_sealed_copy() {
    if !root("a_process_that_waits_runs_from_a_sealed_copy") {
        return;
    }
    let bundle = Bundle::new("sleep 1000");
    let life = support::life::Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    let exe = format!("/proc/{}/exe", life.state()["pid"]);
    let opened = std::fs::File::open(&exe).expect("open");
    let seals = rustix::fs::fcntl_get_seals(&opened).expect("it is a memfd");
    assert!(seals.contains(rustix::fs::SealFlags::WRITE | rustix::fs::SealFlags::SEAL), "{seals:?}");
    assert!(std::fs::OpenOptions::new().write(true).open(&exe).is_err());
    // And it is not called by the number of a descriptor.
    let comm = std::fs::read_to_string(exe.replace("/exe", "/comm")).expect("read");
    assert_eq!(comm, "berth-oci\n");
    life.verb("start").fine();
    let program = std::fs::read_link(&exe).expect("readlink");
    assert!(program.ends_with("busybox"), "{program:?}");
    // Nobody runs the copy any more, and still it cannot be written.
    drop(life);
    use std::os::fd::AsRawFd as _;
    let again = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let error = std::fs::OpenOptions::new().write(true).open(again).and_then(|mut copy| {
        use std::io::Write as _;
        copy.write_all(b"x")
    });
    assert!(error.is_err());
}

/// The host's null device cannot be changed through the mask.
#[test]
fn a_mask_does_not_give_the_hosts_device_away() {
    if !root("a_mask_does_not_give_the_hosts_device_away") {
        return;
    }
    let before = std::fs::metadata("/dev/null").expect("stat");
    let mut bundle = Bundle::new(
        "chmod 000 /proc/interrupts 2>/dev/null; chown 5 /proc/interrupts; echo x > /proc/interrupts",
    );
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] =
            json!(["CAP_FOWNER", "CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
    }
    let (code, _) = bundle.ours();
    let after = std::fs::metadata("/dev/null").expect("stat");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()));
    // It still swallows what is written.
    assert_eq!(code, 0);
}

#[test]
fn a_sysctl_of_a_bundle_cannot_name_another_file() {
    if !root("a_sysctl_of_a_bundle_cannot_name_another_file") {
        return;
    }
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["sysctl"] = json!({ "net/../../sysrq-trigger": "b" });
    let (code, output) = bundle.ours();
    assert!(code == 1 && output.contains("linux.sysctl"), "{output}");
}

#[test]
fn signals_go_to_the_container() {
    if !root("signals_go_to_the_container") {
        return;
    }
    let bundle = Bundle::new("trap 'exit 9' TERM; echo ready; while :; do sleep 1000 & wait; done");
    let mut runtimes = oracles("signals_go_to_the_container");
    runtimes.push(Runtime::Ours);
    for runtime in runtimes {
        let mut child = bundle.command(runtime).stdout(Std::piped()).spawn().expect("spawn");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n");
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
        assert_eq!(child.wait().expect("wait").code(), Some(9), "{runtime:?}");
    }
}

#[test]
fn a_bad_bundle_leaves_no_cgroup() {
    if !root("a_bad_bundle_leaves_no_cgroup") {
        return;
    }
    let mut bundle = Bundle::new("true");
    bundle.config["process"]["args"] = json!(["/no/such/program"]);
    let left = |bundle: &Bundle| {
        let host = berth_sys::cgroup::Host::detect().expect("cgroups");
        let name = bundle.last_id();
        host.hierarchies().iter().any(|h| h.mount.join(&name).exists())
    };
    let (code, output) = bundle.ours();
    assert!(code == 127 && output.contains("/no/such/program"), "{code} {output}");
    assert!(!left(&bundle));
    let mount = json!({ "destination": "/x", "type": "bind", "source": "/no/such" });
    bundle.config["mounts"].as_array_mut().expect("array").push(mount);
    let (code, output) = bundle.ours();
    assert!(code == 1 && output.contains("/no/such"), "{code} {output}");
    assert!(!left(&bundle));
}

/// What `berth-oci --preserve-fds` was given is in the container, with the same numbers, and nothing else; hooks do not get it.
#[test]
fn descriptors_of_the_caller_are_given_by_their_number() {
    let test = "descriptors_of_the_caller_are_given_by_their_number";
    if !root(test) {
        return;
    }
    let look = "cat <&3; cat <&4; ls /proc/self/fd | wc -l";
    let ids: Vec<_> = oracles(test).into_iter().chain([Runtime::Ours]).collect();
    for runtime in ids {
        let mut bundle = Bundle::new(look);
        std::fs::write(bundle.path().join("three"), "three\n").expect("write");
        std::fs::write(bundle.path().join("four"), "four\n").expect("write");
        let seen = bundle.path().join("seen");
        let hook = format!("ls -l /proc/self/fd > {}", seen.display());
        bundle.config["hooks"]["createRuntime"] =
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", hook], "env": ["PATH=/bin:/usr/bin"] }]);
        let id = support::unique();
        bundle.write(&id);
        // Also one more, which is not passed on.
        let shell = format!(
            "cd {0}; exec 3<three 4<four 5<config.json; exec {1} --root {2} run --preserve-fds 2 --bundle {0} {id}",
            bundle.path().display(),
            runtime.program(),
            bundle.state().display()
        );
        let output = std::process::Command::new("sh").args(["-c", &shell]).output().expect("sh");
        // Three streams, two files, and the directory that is listed.
        assert_eq!(support::bundle::text(&output), "three\nfour\n6\n", "{runtime:?}");
        if runtime == Runtime::Ours {
            let seen = std::fs::read_to_string(&seen).expect("the hook ran");
            assert!(!seen.contains("three") && !seen.contains("config.json"), "{seen}");
        }
    }
}

/// A further process gets them too; and a filter of system calls, a user and a terminal do not change that.
#[test]
fn a_further_process_is_given_descriptors_as_well() {
    if !root("a_further_process_is_given_descriptors_as_well") {
        return;
    }
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["process"]["user"] = json!({ "uid": 7, "gid": 8 });
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }]
    });
    let life = support::life::Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    life.verb("start").fine();
    std::fs::write(bundle.path().join("three"), "three\n").expect("write");
    let shell = format!(
        "exec 3<{0}; exec {1} --root {2} exec --preserve-fds 1 {3} sh -c 'cat <&3; ls /proc/self/fd | wc -l'",
        bundle.path().join("three").display(),
        Runtime::Ours.program(),
        bundle.state().display(),
        life.id
    );
    let output = std::process::Command::new("sh").args(["-c", &shell]).output().expect("sh");
    assert_eq!(support::bundle::text(&output), "three\n5\n");
}

/// `tmpcopyup`, which podman asks for: a tmpfs that begins with what the image has there, and what is written stays out of that.
#[test]
fn a_tmpfs_begins_with_what_the_image_has() {
    let test = "a_tmpfs_begins_with_what_the_image_has";
    if !root(test) {
        return;
    }
    // crun leaves the mode of a new tmpfs.
    let like_us = oracles(test).into_iter().filter(|oracle| *oracle == Runtime::Runc);
    for runtime in like_us.chain([Runtime::Ours]) {
        let script = "cat /data/file; busybox stat -c %a:%u:%g /data /data/file; busybox readlink /data/link; \
                      echo new > /data/new; grep -c '/data.*tmpfs' /proc/mounts";
        let mut bundle = Bundle::new(script);
        let data = bundle.rootfs().join("data");
        std::fs::create_dir(&data).expect("mkdir");
        std::fs::write(data.join("file"), "of the image\n").expect("write");
        std::os::unix::fs::symlink("file", data.join("link")).expect("symlink");
        std::os::unix::fs::chown(data.join("file"), Some(7), Some(8)).expect("chown");
        for (path, mode) in [(data.clone(), 0o750), (data.join("file"), 0o640)] {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
                .expect("chmod");
        }
        // Root without rights over others' files, but of its own.
        for set in ["bounding", "effective", "permitted"] {
            bundle.config["process"]["capabilities"][set] = json!(["CAP_DAC_OVERRIDE"]);
        }
        bundle.config["root"]["readonly"] = json!(true);
        let mount = json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "size=1m", "tmpcopyup"] });
        bundle.config["mounts"].as_array_mut().expect("array").push(mount);
        let output = bundle.run(runtime);
        let said = support::bundle::text(&output);
        assert_eq!(said, "of the image\n750:0:0\n640:7:8\nfile\n1\n", "{runtime:?}");
        assert!(!data.join("new").exists(), "{runtime:?}");
    }
}
