use proptest::prelude::*;

use super::*;

fn accounts() -> Accounts {
    Accounts {
        passwd: b"root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nweb:x:33:44:Web:/srv/web:/bin/false\n\
                  77:x:1000:1001::/home/seven:\nlast:x:5:6"
            .to_vec(),
        group: b"root:x:0:\nwww:x:44:\nextra:x:50:other,web\nmore:x:51: web \nextra2:x:50:web\nbad:x:y:web\n"
            .to_vec(),
    }
}

fn ids(text: &str) -> (u32, u32, Vec<u32>) {
    let account = accounts().resolve(text).expect(text);
    (account.uid, account.gid, account.groups)
}

#[test]
fn names_and_numbers_are_resolved_as_docker_does() {
    assert_eq!(ids(""), (0, 0, vec![]));
    assert_eq!(ids("web"), (33, 44, vec![50, 51]));
    assert_eq!(ids("33"), (33, 44, vec![50, 51]));
    assert_eq!(ids("web:www"), (33, 44, vec![]));
    assert_eq!(ids("web:7"), (33, 7, vec![]));
    assert_eq!(ids("web:"), (33, 44, vec![50, 51]));
    assert_eq!(ids("4242"), (4242, 0, vec![]));
    assert_eq!(ids("4242:4343"), (4242, 4343, vec![]));
    // A name of digits is a name first where its line stands first.
    assert_eq!(ids("77"), (1000, 1001, vec![]));
    assert_eq!(ids("last"), (5, 6, vec![]));
}

#[test]
fn homes_come_from_the_entry() {
    let home = |text: &str| accounts().user(text).expect(text).home;
    assert_eq!(home("web"), b"/srv/web");
    assert_eq!(home("999"), b"/");
    assert_eq!(home("last"), b"/");
}

#[test]
fn what_is_not_there_is_an_error_that_names_it() {
    let refused = |text: &str| accounts().resolve(text).expect_err(text).to_string();
    assert!(refused("nobody").contains("\"nobody\""));
    assert!(refused("web:nogroup").contains("\"nogroup\""));
    assert!(refused("4294967295").contains("is not an id"));
    assert!(refused("99999999999999999999").contains("is not an id"));
}

#[test]
fn files_are_read_within_the_root_only() {
    let dir = tempfile::tempdir().expect("tempdir");
    let etc = dir.path().join("etc");
    std::fs::create_dir(&etc).expect("mkdir");
    let root = std::fs::File::open(dir.path()).expect("open");
    assert_eq!(Accounts::read(root.as_fd()).expect("none"), Accounts::default());
    // A link of the image leads nowhere but into it.
    std::os::unix::fs::symlink("/etc/inner", etc.join("passwd")).expect("symlink");
    std::fs::write(etc.join("inner"), "me:x:7:8::/:\n").expect("write");
    let read = Accounts::read(root.as_fd()).expect("read");
    assert_eq!(read.user("me").expect("me").uid, 7);
    // What is not a file is not opened.
    std::fs::create_dir(etc.join("group")).expect("mkdir");
    assert!(Accounts::read(root.as_fd()).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        passwd in proptest::collection::vec(any::<u8>(), 0..400),
        group in proptest::collection::vec(any::<u8>(), 0..400),
        user in ".{0,20}",
    ) {
        let accounts = Accounts { passwd, group };
        drop(accounts.resolve(&user));
    }

    #[test]
    fn what_was_written_is_found(
        name in "[a-z_][a-z0-9_-]{0,20}",
        uid in 0..=MAX_ID, gid in 0..=MAX_ID,
        noise in proptest::collection::vec("[^\n]{0,30}", 0..10),
        extra in proptest::collection::vec(0..=MAX_ID, 0..8),
    ) {
        // Noise that happens to be an entry could come first and win: made to be none.
        let noise: String = noise.iter().map(|l| format!("#{l}\n")).collect();
        let mut group = noise.clone();
        for gid in &extra {
            group.push_str(&format!("g{gid}:x:{gid}:a,{name}\n"));
        }
        let passwd = format!("{noise}{name}:x:{uid}:{gid}::/h:/s\n");
        let accounts = Accounts { passwd: passwd.into_bytes(), group: group.into_bytes() };
        let found = accounts.resolve(&name).expect("is there");
        prop_assert_eq!((found.uid, found.gid), (uid, gid));
        let mut wanted = Vec::new();
        extra.iter().for_each(|g| if !wanted.contains(g) { wanted.push(*g) });
        prop_assert_eq!(found.groups, wanted);
        prop_assert_eq!(accounts.resolve(&uid.to_string()).expect("by number").uid, uid);
    }
}
