use berth_testkit::require_root;
use oci_spec::runtime::{LinuxIdMappingBuilder, MountBuilder, SpecBuilder};

use super::*;

fn mapped(source: &Path, options: &[&str]) -> Mount {
    let map = LinuxIdMappingBuilder::default().container_id(0_u32).host_id(300_000_u32).size(10_u32);
    let map = vec![map.build().unwrap()];
    let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
    let mount = MountBuilder::default().destination("/volume").typ("bind").source(source).options(options);
    mount.uid_mappings(map.clone()).gid_mappings(map).build().unwrap()
}

fn with(mounts: Vec<Mount>) -> Spec {
    SpecBuilder::default().mounts(mounts).build().unwrap()
}

#[test]
fn what_has_no_maps_stays_as_it_is() {
    let plain = MountBuilder::default().destination("/x").source("/y").options(vec!["rbind".to_owned()]);
    let mut spec = with(vec![plain.build().unwrap()]);
    let before = spec.clone();
    assert!(volumes(&mut spec, Path::new("/dir"), None).unwrap().is_empty());
    assert_eq!(spec, before);
}

#[test]
fn a_volume_with_maps_is_bound_from_a_copy_that_has_them() {
    require_root!();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let options = ["rbind", "rslave", "ro", "ridmap"];
    let mut spec = with(vec![mapped(dir.path(), &options), mapped(dir.path(), &options)]);
    let made = volumes(&mut spec, Path::new("/dir"), None).unwrap();
    let mounts = spec.mounts().clone().unwrap();
    for (number, (detached, mount)) in made.iter().zip(&mounts).enumerate() {
        let place = Path::new("/dir/mapped").join(number.to_string());
        assert_eq!((&detached.source, mount.source().as_ref()), (&place, Some(&place)));
        assert_eq!(mount.options().as_deref(), Some(&["rbind", "rslave", "ro"].map(str::to_owned)[..]));
        assert!(mount.uid_mappings().is_none() && mount.gid_mappings().is_none());
        let file = rustix::fs::statat(&detached.mount, "file", rustix::fs::AtFlags::empty()).unwrap();
        assert_eq!((file.st_uid, file.st_gid), (300_000, 300_000));
    }
    assert_eq!(made.len(), 2);
}

#[test]
fn a_copy_propagates_nothing_to_the_host_and_is_refused_where_it_should() {
    let mut spec = with(vec![mapped(Path::new("/tmp"), &["rbind", "rshared", "ridmap"])]);
    let error = volumes(&mut spec, Path::new("/dir"), None).unwrap_err().to_string();
    assert!(error.contains("/volume: ") && error.contains("appear on the host"), "{error}");
}

#[test]
fn the_way_to_a_root_is_opened_for_its_user_and_no_wider() {
    require_root!();
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let pod = state.join("pods").join("pod");
    std::fs::create_dir_all(pod.join("c.root")).unwrap();
    let closed = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    };
    for path in [pod.as_path(), &state.join("pods"), &state, dir.path()] {
        closed(path);
    }
    let root = pod.join("c.root");
    let error = let_in(&root, 300_000).unwrap_err().to_string();
    assert!(error.contains(&format!("{} cannot be passed", dir.path().display())), "{error}");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let_in(&root, 300_000).unwrap();
    let of = |path: &Path| {
        let meta = std::fs::metadata(path).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    assert_eq!(of(&pod), (0o710, 0, 300_000));
    assert_eq!([of(&state.join("pods")), of(&state)], [(0o701, 0, 0); 2]);
}
