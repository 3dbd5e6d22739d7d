use berth_testkit::require_root;

use super::*;

#[test]
fn mounts_are_of_the_pods_in_whose_directories_they_lie() {
    let dir = Path::new("/var/lib/berth/pods");
    let mounts = ["u1/volumes/a", "u2/volumes/a", ".dead-u1/volumes/a"].map(|path| dir.join(path));
    let others = of_others(dir, mounts.to_vec(), &HashSet::from(["u1"]));
    assert_eq!(others, mounts[1..]);
}

#[test]
fn a_volume_in_memory_has_its_size_and_goes_with_what_is_mounted_in_it() {
    require_root!();
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("a/b");
    std::fs::create_dir_all(&volume).unwrap();
    mount_memory(&volume, 1 << 20).unwrap();
    let found = berth_sys::mount::mounted().unwrap().into_iter().find(|m| m.point == volume).unwrap();
    assert_eq!(found.kind, "tmpfs");
    std::fs::write(volume.join("fits"), vec![0; 1 << 19]).unwrap();
    assert!(std::fs::write(volume.join("large"), vec![0; 1 << 20]).is_err());
    let below = volume.join("c");
    std::fs::create_dir(&below).unwrap();
    mount_memory(&below, 4096).unwrap();
    unmount_below(dir.path()).unwrap();
    assert!(mounts_below(dir.path()).is_empty());
    unmount_below(dir.path()).unwrap();
    assert_eq!(std::fs::read_dir(&volume).unwrap().count(), 0);
}
