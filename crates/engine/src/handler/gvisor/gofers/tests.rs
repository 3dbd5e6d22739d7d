use std::os::unix::fs::MetadataExt as _;

use berth_testkit::require_root;

use super::*;

#[test]
fn pods_share_one_that_is_mounted_once_in_each() {
    require_root!();
    let dir = tempfile::tempdir().unwrap();
    let (network, places) =
        (Network::default(), ["one", "two"].map(|pod| dir.path().join(pod).join("netns")));
    let number = |path: &Path| std::fs::metadata(path).unwrap().ino();
    for at in places.iter().chain(&places) {
        network.try_mount(at).unwrap();
    }
    assert_eq!(number(&places[0]), number(&places[1]));
    assert_ne!(number(&places[0]), number(Path::new("/proc/self/ns/net")));
    for at in &places {
        rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(!is_namespace(&std::fs::File::open(at).unwrap()).unwrap(), "it was mounted more than once");
    }
}
