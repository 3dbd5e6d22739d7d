//! The OCI runtime-tools' own validation, built from the module that `tests/oci/go.mod` pins: each of its programs makes containers
//! by runc's command line and looks at them from the inside.
//!
//! What is not run, and why: the programs that runc fails too (delete, hooks, hooks_stdin, misc_props, pidfile, poststart, prestart,
//! process_rlimits, start, the ones that expect a failure); killsig, which signals before its shell has set its trap; delete_resources and
//! delete_only_create_resources, which look at the cgroups of the whole machine; those of settings that
//! Berth refuses (kernel memory, leaf weights and network classes, mount labels, a mount namespace by path or none, an option without effect on a bind mount); those of
//! cgroups, which leave their parents behind; process_capabilities, which needs a machine whose root has all of
//! them; and kill, linux_masked_paths, linux_readonly_paths and linux_rootfs_propagation, which find nothing wrong in ten seconds each.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_testkit::executable;

mod support;
use support::root;

fn go(dir: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(dir).env("GOFLAGS", "-mod=readonly").env("CGO_ENABLED", "0").stdin(Stdio::null());
    go
}

/// Builds the programs; the directory with them and the root file system that they unpack.
fn build() -> PathBuf {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oci");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runtime-tools");
    // What another state of the module had is not run.
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("mkdir");
    let built = go(&module).args(["build", "-o"]).arg(&dir).arg("tool").output().expect("go");
    assert!(built.status.success(), "{}", support::bundle::text(&built));
    let list = ["list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-tools"];
    let source = String::from_utf8(go(&module).args(list).output().expect("go").stdout).expect("a path");
    let archive = if cfg!(target_arch = "x86_64") { "rootfs-amd64.tar.gz" } else { "rootfs-386.tar.gz" };
    let bytes = std::fs::read(Path::new(source.trim()).join(archive)).expect("the root file system");
    std::fs::write(dir.join(archive), bytes).expect("write");
    dir
}

/// How many points one program found right, or what it said.
fn validate(program: &Path, runtime: &Path, own: &Path) -> Result<usize, String> {
    let mut command = Command::new(program);
    command.current_dir(program.parent().expect("a directory")).env("RUNTIME", runtime).env("TMPDIR", own);
    let output = command.stdin(Stdio::null()).output().expect("run");
    let text = support::bundle::text(&output);
    let right = text.lines().filter(|line| line.starts_with("ok ")).count();
    if right == 0 || !output.status.success() || text.lines().any(|line| line.starts_with("not ok ")) {
        return Err(format!("{}: {}\n{text}", program.display(), output.status));
    }
    Ok(right)
}

#[test]
fn the_programs_of_the_oci_runtime_tools_find_nothing_wrong() {
    let test = "the_programs_of_the_oci_runtime_tools_find_nothing_wrong";
    if !root(test) {
        return;
    }
    if !cfg!(target_arch = "x86_64") || Command::new("go").arg("version").output().is_err() {
        eprintln!("skipped: {test}: needs Go and an x86_64 machine");
        return;
    }
    let programs = build();
    let own = tempfile::tempdir().expect("tempdir");
    // They know no options.
    let runtime = own.path().join("berth-oci");
    let (program, state) = (env!("CARGO_BIN_EXE_berth-oci"), own.path().join("state"));
    executable::script(&runtime, format!("#!/bin/sh\nexec {program} --root {} \"$@\"\n", state.display()));
    let names = std::fs::read_dir(&programs).expect("the programs");
    let names = names.map(|entry| entry.expect("entry").file_name().into_string().expect("a name"));
    let names: Vec<String> = names.filter(|name| name != "runtimetest" && !name.ends_with(".gz")).collect();
    // They mostly wait.
    let run = &|names: &[String]| -> Vec<Result<usize, String>> {
        names.iter().map(|name| validate(&programs.join(name), &runtime, own.path())).collect()
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = names.chunks(5).map(|some| scope.spawn(move || run(some))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    let wrong: Vec<String> = results.iter().filter_map(|result| result.clone().err()).collect();
    let points: usize = results.iter().flatten().sum();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(points > 1500, "only {points} points were looked at");
    assert_eq!(std::fs::read_dir(&state).map_or(0, Iterator::count), 0, "containers are left");
}
