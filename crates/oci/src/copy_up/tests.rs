use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

use serde_json::json;

use super::*;

fn spec(mounts: &serde_json::Value) -> Spec {
    serde_json::from_value(json!({ "ociVersion": "1.0.2", "mounts": mounts })).unwrap()
}

#[test]
fn only_a_tmpfs_with_the_word_is_taken() {
    let mut spec = spec(&json!([
        { "destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"] },
        { "destination": "/b", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "tmpcopyup", "size=64k", "rprivate", "nr_inodes=10"] },
        { "destination": "/c", "type": "bind", "source": "/x", "options": ["tmpcopyup"] }
    ]));
    let before = spec.mounts().clone().unwrap();
    let taken = take(&mut spec).unwrap();
    let mounts = spec.mounts().clone().unwrap();
    assert_eq!((&mounts[0], &mounts[2]), (&before[0], &before[2]));
    assert_eq!(mounts[1].typ().as_deref(), Some("bind"));
    assert_eq!(mounts[1].options().as_deref().unwrap(), ["bind", "nosuid", "rprivate"]);
    assert_eq!(mounts[1].source().as_deref(), Some(taken[0].source.as_path()));
    let data: Vec<_> = taken[0].data.iter().map(|(key, value)| (key.as_c_str(), value.as_deref())).collect();
    assert_eq!(data, [(c"size", Some(c"64k")), (c"nr_inodes", Some(c"10"))]);
    assert_eq!(relative(c"//a/b"), c"a/b");
    assert_eq!(relative(c"/"), c".");
}

#[test]
fn everything_of_a_directory_is_copied() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: everything_of_a_directory_is_copied: needs root");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    std::fs::create_dir_all(at("data/deep/er")).unwrap();
    std::fs::write(at("data/deep/er/file"), "text").unwrap();
    std::fs::set_permissions(at("data/deep/er/file"), PermissionsExt::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(at("data/deep"), Some(7), Some(8)).unwrap();
    std::fs::set_permissions(at("data"), PermissionsExt::from_mode(0o1775)).unwrap();
    // Out of the image: not followed.
    std::os::unix::fs::symlink("/etc/passwd", at("data/link")).unwrap();
    std::os::unix::fs::symlink("/data", at("way")).unwrap();
    let fifo = at("data/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    let copy = CopyUp {
        source: PathBuf::new(),
        destination: "/way".into(),
        data: vec![(c"size".into(), Some(c"1m".into()))],
    };
    let mount = copy.mount(root.path()).unwrap();
    let made = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&mount)));
    let meta = |name: &str| std::fs::symlink_metadata(made.join(name)).unwrap();
    assert_eq!(std::fs::read_to_string(made.join("deep/er/file")).unwrap(), "text");
    assert_eq!(meta("deep/er/file").mode() & 0o7777, 0o4711);
    assert_eq!((meta("deep").uid(), meta("deep").gid()), (7, 8));
    assert_eq!(meta("deep").mtime(), std::fs::metadata(at("data/deep")).unwrap().mtime());
    assert_eq!(std::fs::read_link(made.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(meta("fifo").mode() & 0o7777, 0o640);
    assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o7777, 0o1775);
    // More than there is room for.
    std::fs::write(at("data/big"), vec![0; 2 << 20]).unwrap();
    let error = copy.mount(root.path()).unwrap_err();
    assert!(berth_types::error::chain(&error).contains("No space left"), "{error:?}");
    // Nothing to copy.
    let empty = CopyUp { destination: "/none".into(), ..copy };
    let mount = empty.mount(root.path()).unwrap();
    assert_eq!(
        Dir::read_from(rustix::fs::openat(&mount, c".", DIRECTORY, Mode::empty()).unwrap()).unwrap().count(),
        2
    );
}
