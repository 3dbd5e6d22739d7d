use super::*;
use oci_spec::runtime::{LinuxBuilder, LinuxNamespaceBuilder, MountBuilder, ProcessBuilder, SpecBuilder};

fn spec() -> Spec {
    let kinds = [
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::User,
    ];
    let namespaces: Vec<_> =
        kinds.iter().map(|kind| LinuxNamespaceBuilder::default().typ(*kind).build().unwrap()).collect();
    let root = RootBuilder::default().path("/").readonly(true).build().unwrap();
    let linux = LinuxBuilder::default().namespaces(namespaces).cgroups_path("pods/x").build().unwrap();
    let process = ProcessBuilder::default().args(vec!["n".to_owned()]).build().unwrap();
    SpecBuilder::default().root(root).linux(linux).process(process).build().unwrap()
}

fn joined(pieces: &[Piece]) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Namespace(which) => format!("/{which:?}"),
    };
    pieces.iter().map(text).collect()
}

#[test]
fn namespaces_of_the_pod_have_places_and_others_none() {
    let given = [LinuxNamespaceType::Network, LinuxNamespaceType::Ipc, LinuxNamespaceType::User];
    let pieces = pieces(spec(), &given, "0123token").unwrap();
    let read: Spec = serde_json::from_str(&joined(&pieces)).unwrap();
    let paths: Vec<_> = read
        .linux()
        .as_ref()
        .unwrap()
        .namespaces()
        .iter()
        .flatten()
        .map(|namespace| namespace.path().as_ref().map(|path| path.display().to_string()))
        .collect();
    let at = |path: &str| Some(path.to_owned());
    assert_eq!(paths, [None, None, at("/Network"), at("/Ipc"), None, at("/User")]);
    let places = pieces.iter().filter(|piece| matches!(piece, Piece::Namespace(_))).count();
    assert_eq!(places, 3);
}

#[test]
fn the_root_propagates_as_far_as_its_mounts() {
    let with = |options: &[&[&str]]| {
        let mount = |options: &&[&str]| {
            let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
            MountBuilder::default().destination("/x").options(options).build().unwrap()
        };
        let mut spec = spec();
        spec.set_mounts(Some(options.iter().map(mount).collect()));
        let rest = Rest { root: Path::new("/r"), devices: &[], seccomp: None, oom_score: None };
        complete(spec, rest).linux().as_ref().unwrap().rootfs_propagation().clone()
    };
    assert_eq!(with(&[&["rbind", "rprivate"]]), None);
    assert_eq!(with(&[&["rprivate"], &["rslave"]]).as_deref(), Some("rslave"));
    assert_eq!(with(&[&["rslave"], &["rshared"]]).as_deref(), Some("rshared"));
}

#[test]
fn what_berth_does_itself_is_said_to_others() {
    let access = Access { read: true, write: false, make: true };
    let rules = [
        DeviceRule { allow: false, kind: DeviceKind::All, major: None, minor: None, access: Access::ALL },
        DeviceRule { allow: true, kind: DeviceKind::Block, major: Some(8), minor: Some(1), access },
    ];
    let rest = Rest { root: Path::new("/x/rootfs"), devices: &rules, seccomp: None, oom_score: Some(7) };
    let spec = complete(spec(), rest);
    let root = spec.root().as_ref().unwrap();
    assert_eq!((root.path().to_str(), root.readonly()), (Some("/x/rootfs"), Some(true)));
    assert_eq!(spec.process().as_ref().unwrap().oom_score_adj(), Some(7));
    let value = serde_json::to_value(&spec).unwrap();
    assert_eq!((&value["ociVersion"], &value["linux"]["cgroupsPath"]), (&"1.0.2".into(), &"/pods/x".into()));
    assert_eq!(
        value["linux"]["resources"]["devices"],
        serde_json::json!([
            { "allow": false, "type": "a", "access": "rwm" },
            { "allow": true, "type": "b", "major": 8, "minor": 1, "access": "rm" },
        ])
    );
}

#[test]
fn devices_that_runtimes_make_are_not_bound_over_them() {
    let bound = |source: &str, place: &str| MountBuilder::default().destination(place).source(source).build();
    let kept = [("/dev/sda", "/dev/sda"), ("/dev/zero", "/dev/null"), ("/x", "/dev/tty")];
    let all = [("/dev/tty", "/dev/tty"), ("/dev/null", "/dev/null")].into_iter().chain(kept);
    let mut spec = spec();
    spec.set_mounts(Some(all.map(|(source, place)| bound(source, place).unwrap()).collect()));
    let rest = Rest { root: Path::new("/r"), devices: &[], seccomp: None, oom_score: None };
    let mounts = complete(spec, rest).mounts().clone().unwrap();
    assert_eq!(mounts, kept.map(|(source, place)| bound(source, place).unwrap()));
}
