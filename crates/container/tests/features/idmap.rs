//! Mounts that show other owners.

use std::os::fd::AsFd as _;

use berth_container::plan::{IdMap, Propagation, Space, Step};
use berth_container::run::{self, Given, Join, RunError};

use crate::support::{FIRST_ID, bind, capture, read_all, root, run_plan};
use crate::user_plan;

/// A tmpfs of the test's, until it is dropped.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn on(at: &std::path::Path, kind: &str) -> Self {
        std::fs::create_dir(at).expect("mkdir");
        rustix::mount::mount("none", at, kind, rustix::mount::MountFlags::empty(), None).expect("mount");
        Self(at.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_recursively_idmapped_mount_maps_what_is_mounted_below_it() {
    if !root("a_recursively_idmapped_mount_maps_what_is_mounted_below_it") {
        return;
    }
    if berth_sys::kernel::version() < (6, 3) {
        eprintln!(
            "skipped: a_recursively_idmapped_mount_maps_what_is_mounted_below_it: a tmpfs can be idmapped from Linux 6.3 on"
        );
        return;
    }
    let source = tempfile::tempdir().expect("tempdir");
    let below = Tmpfs::on(&source.path().join("below"), "tmpfs");
    std::fs::write(below.0.join("file"), "x").expect("write");
    let maps = [IdMap { inside: 0, outside: FIRST_ID, count: 1000 }];
    for (recursive, owner) in [(true, "0"), (false, "65534")] {
        let (_rootfs, mut plan) = user_plan(&["stat", "-c", "%u", "/in", "/in/below/file"]);
        let mut step = bind(source.path(), "/in", &maps, Propagation::Private);
        if let (true, Step::Mount(mount)) = (recursive, &mut step) {
            mount.recursive_attributes.set = berth_sys::mount::IDMAP;
        }
        plan.steps.push(step);
        assert_eq!(run_plan(&plan).expect("run"), (0, format!("0\n{owner}\n")));
    }
    // Without maps it would silently not be mapped.
    let (_rootfs, mut plan) = user_plan(&["true"]);
    let mut step = bind(source.path(), "/in", &[], Propagation::Private);
    if let Step::Mount(mount) = &mut step {
        mount.recursive_attributes.set = berth_sys::mount::IDMAP;
    }
    plan.steps.push(step);
    assert!(matches!(run_plan(&plan), Err(RunError::Plan { .. })));
}

#[test]
fn what_cannot_be_idmapped_is_named() {
    if !root("what_cannot_be_idmapped_is_named") {
        return;
    }
    let source = tempfile::tempdir().expect("tempdir");
    let below = Tmpfs::on(&source.path().join("below"), "ramfs");
    let maps = [IdMap { inside: 0, outside: FIRST_ID, count: 1000 }];
    for from in [source.path(), &below.0] {
        let (_rootfs, mut plan) = user_plan(&["true"]);
        let mut step = bind(from, "/in", &maps, Propagation::Private);
        if let Step::Mount(mount) = &mut step {
            mount.recursive_attributes.set = berth_sys::mount::IDMAP;
        }
        plan.steps.push(step);
        let error = run_plan(&plan).expect_err("ramfs has no maps").to_string();
        let words = format!("{} is a file system of type ramfs that cannot be idmapped", below.0.display());
        assert!(error.contains(&words), "{error}");
    }
}

/// One user namespace for all mounts of the same maps, the container's own where it is given.
#[test]
fn mounts_use_the_maps_of_a_user_namespace_that_is_given() {
    if !root("mounts_use_the_maps_of_a_user_namespace_that_is_given") {
        return;
    }
    let source = tempfile::tempdir().expect("tempdir");
    std::fs::write(source.path().join("file"), "x").expect("write");
    let maps = [IdMap { inside: 0, outside: FIRST_ID, count: 1000 }];
    let other = [IdMap { inside: 0, outside: FIRST_ID + 5, count: 10 }];
    let ranges = [(0, FIRST_ID, 1000)];
    let user = berth_sys::user::namespace(&ranges, &ranges).expect("namespace");
    let (_rootfs, mut plan) = user_plan(&["stat", "-c", "%u", "/one/file", "/two/file", "/three/file"]);
    plan.namespaces.user = Space::Given;
    plan.steps.push(bind(source.path(), "/one", &maps, Propagation::Private));
    plan.steps.push(bind(source.path(), "/two", &maps, Propagation::Private));
    plan.steps.push(bind(source.path(), "/three", &other, Propagation::Private));
    let given = Given { user: Some(user.as_fd()), ..Given::default() };
    let (read, stdio) = capture();
    let running =
        run::create(&plan, &given, stdio, &Join::default()).expect("create").start().expect("start");
    assert_eq!(read_all(read), "0\n0\n5\n");
    berth_sys::process::reap(running.pidfd.as_fd());
}
