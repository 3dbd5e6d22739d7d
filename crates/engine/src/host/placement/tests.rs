use berth_sys::cgroup::{Controllers, Hierarchy, Host, Version};

use super::*;

fn host(versions: &[Version]) -> Host {
    let hierarchy = |version: &Version| Hierarchy {
        mount: format!("/nowhere/{version:?}").into(),
        version: *version,
        controllers: Controllers::parse(["memory"]),
        name: None,
    };
    Host::from_hierarchies(versions.iter().map(hierarchy).collect(), false).unwrap()
}

#[test]
fn the_systemd_driver_is_refused_where_it_cannot_work() {
    let (v1, v2) = (host(&[Version::V1]), host(&[Version::V2]));
    for host in [&v1, &v2] {
        assert_eq!(choose(CgroupDriver::Cgroupfs, host).unwrap(), Driver::Cgroupfs);
    }
    assert_eq!(choose(CgroupDriver::Auto, &v1).unwrap(), Driver::Cgroupfs);
    let error = choose(CgroupDriver::Systemd, &v1).unwrap_err().to_string();
    assert!(error.contains("cgroup-driver systemd"), "{error}");
    let systemd = if Host::has_systemd() { Driver::Systemd } else { Driver::Cgroupfs };
    assert_eq!(choose(CgroupDriver::Auto, &v2).unwrap(), systemd);
    assert_eq!(choose(CgroupDriver::Systemd, &v2).is_ok(), systemd == Driver::Systemd);
}

#[test]
fn what_another_driver_made_is_known_by_its_name() {
    let id: SandboxId = "a".repeat(64).parse().unwrap();
    let slice = Slice::parse("berth.slice").unwrap();
    let roots = Roots { cgroupfs: CgroupPath::new("/berth").unwrap(), slice };
    for name in [id.to_string(), format!("berth-pod{id}.scope")] {
        assert_eq!(roots.pod_of(&name), Some(id.clone()), "{name}");
        assert!(!roots.is_shared(&name));
    }
    for name in ["shims", "berth-shims.slice"] {
        assert_eq!(roots.pod_of(name), None, "{name}");
        assert!(roots.is_shared(name));
    }
    // One of another instance that a caller put there is left alone.
    let others = format!("berth_x-pod{id}.scope");
    assert_eq!((roots.pod_of(&others), roots.is_shared(&others)), (None, true));
    // A pod's own group stands for its whole scope, a container's for itself.
    let scope = CgroupPath::new(&format!("k.slice/berth-pod{id}.scope")).unwrap();
    let own = scope.child("pod").unwrap();
    assert_eq!(systemd::whole(&own), scope);
    assert_eq!(systemd::whole(&scope), scope);
    let container = own.child(&"b".repeat(64)).unwrap();
    assert_eq!(systemd::whole(&container), container);
}

#[test]
fn scopes_are_found_in_whichever_slice_they_lie() {
    let (id, other): (SandboxId, SandboxId) =
        ("a".repeat(64).parse().unwrap(), "b".repeat(64).parse().unwrap());
    let slice = Slice::parse("berth.slice").unwrap();
    let mount = tempfile::tempdir().unwrap();
    let ours = [
        format!("berth.slice/berth-pod{id}.scope"),
        format!("berth.slice/berth-shims.slice/berth-shim{id}.scope"),
        format!("k.slice/k-burstable.slice/k-burstable-pod1.slice/berth-pod{other}.scope"),
    ];
    let others = [
        format!("k.slice/berth_x-pod{id}.scope/{other}"),
        format!("k.slice/x.service/berth-pod{id}.scope"),
        format!("berth.slice/berth-pod{id}.scope/{other}/x.slice/berth-pod{other}.scope"),
        format!("berth-pod{other}.slice"),
    ];
    for path in ours.iter().chain(&others) {
        std::fs::create_dir_all(mount.path().join(path)).unwrap();
    }
    let mut found = systemd::scopes(mount.path(), &slice);
    found.sort_by_key(|(group, _)| group.to_string());
    let found: Vec<_> = found.iter().map(|(group, pod)| (group.as_str(), pod)).collect();
    assert_eq!(found, [(ours[0].as_str(), &id), (&ours[1], &id), (&ours[2], &other)]);
}
