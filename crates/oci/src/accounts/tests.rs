use proptest::prelude::*;

use super::*;

#[test]
fn homes_come_from_the_entry() {
    let passwd =
        b"root:x:0:0:root:/root:/bin/sh\n#web:x:33:0::/no:\nbroken\nweb:x:33:44:Web:/srv/web:/bin/false\n\
                   again:x:33:0::/other:\nempty:x:7:7:::\nlast:x:5:6";
    for (uid, wanted) in
        [(0, Some(&b"/root"[..])), (33, Some(b"/srv/web")), (7, None), (5, None), (999, None)]
    {
        assert_eq!(home_in(passwd, uid), wanted, "{uid}");
    }
}

#[test]
fn the_file_is_read_within_the_root_only() {
    let dir = tempfile::tempdir().expect("tempdir");
    let etc = dir.path().join("etc");
    std::fs::create_dir(&etc).expect("mkdir");
    let root = std::fs::File::open(dir.path()).expect("open");
    assert_eq!(home(root.as_fd(), 7).expect("none"), b"/");
    // A link of the image leads nowhere but into it.
    std::os::unix::fs::symlink("/etc/inner", etc.join("passwd")).expect("symlink");
    std::fs::write(etc.join("inner"), "me:x:7:8::/home/me:\n").expect("write");
    assert_eq!(home(root.as_fd(), 7).expect("read"), b"/home/me");
    assert_eq!(home_within(root.as_fd(), 7, Duration::from_secs(60)).expect("read"), b"/home/me");
    // What is not a file is not opened.
    std::fs::remove_file(etc.join("inner")).expect("remove");
    std::fs::create_dir(etc.join("inner")).expect("mkdir");
    assert!(home(root.as_fd(), 7).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_survived(passwd in proptest::collection::vec(any::<u8>(), 0..400), uid in any::<u32>()) {
        home_in(&passwd, uid);
    }

    #[test]
    fn what_was_written_is_found(
        name in "[a-z_][a-z0-9_-]{0,20}",
        uid in any::<u32>(), gid in any::<u32>(),
        noise in proptest::collection::vec("[^\n]{0,30}", 0..10),
    ) {
        // Noise that happens to be an entry could come first and win: made to be none.
        let noise: String = noise.iter().map(|l| format!("#{l}\n")).collect();
        let passwd = format!("{noise}{name}:x:{uid}:{gid}::/h:/s\n");
        prop_assert_eq!(home_in(passwd.as_bytes(), uid), Some(&b"/h"[..]));
    }
}
