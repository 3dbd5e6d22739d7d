use berth_types::{Classify, Kind};

use super::*;

const FILES: Files<'_> = Files {
    passwd: "root:x:0:0:root:/root:/bin/sh\n\
             broken\n\
             huge:x:4294967295:0::/:\n\
             web:x:1000:1001:web:/srv/web:/bin/sh\n\
             odd:x:1002:1002:no home\n",
    group: "root:x:0:\nweb:x:1001:\ndisk:x:6:web,other\nstaff:x:50:other\nlogs:x:4:web\n",
};

fn resolved(text: &str) -> Result<Resolved, EngineError> {
    resolve_text(text, &[], GroupsPolicy::Merge, FILES)
}

#[test]
fn users_and_groups_by_name_and_number() {
    let cases: &[(&str, u32, u32, &[u32], &str)] = &[
        ("", 0, 0, &[0], "/root"),
        ("0", 0, 0, &[0], "/root"),
        ("root", 0, 0, &[0], "/root"),
        ("web", 1000, 1001, &[1001, 4, 6], "/srv/web"),
        ("1000", 1000, 1001, &[1001, 4, 6], "/srv/web"),
        ("1000:50", 1000, 50, &[50, 4, 6], "/srv/web"),
        ("web:staff", 1000, 50, &[50, 4, 6], "/srv/web"),
        ("web:", 1000, 1001, &[1001, 4, 6], "/srv/web"),
        (":50", 0, 50, &[50], "/root"),
        ("7", 7, 0, &[0], "/"),
        ("7:8", 7, 8, &[8], "/"),
        ("odd", 1002, 1002, &[1002], "/"),
        ("+1000:+50", 1000, 50, &[50, 4, 6], "/srv/web"),
    ];
    for (text, uid, gid, groups, home) in cases {
        let want = Resolved { uid: *uid, gid: *gid, groups: groups.to_vec(), home: (*home).to_owned() };
        assert_eq!(resolved(text).unwrap(), want, "{text:?}");
    }
}

#[test]
fn what_is_not_there_or_out_of_range_is_refused() {
    for text in [
        "nobody",
        "web:nothing",
        "4294967295",
        "2147483648",
        "99999999999999999999",
        "huge",
        "-1",
        "+",
        "++1",
        "+-1",
    ] {
        assert_eq!(resolved(text).unwrap_err().kind(), Kind::Invalid, "{text:?}");
    }
}

#[test]
fn a_strict_policy_takes_nothing_from_the_image() {
    let strict = resolve_text("web", &[9, 7, 9], GroupsPolicy::Strict, FILES).unwrap();
    assert_eq!(strict.groups, [1001, 7, 9]);
    let merge = resolve_text("web", &[9, 7], GroupsPolicy::Merge, FILES).unwrap();
    assert_eq!(merge.groups, [1001, 4, 6, 7, 9]);
}

#[test]
fn the_configuration_goes_before_the_image() {
    let user = |user, group| ContainerSecurity { user, group, ..ContainerSecurity::default() };
    let run = |security: &ContainerSecurity| resolve(security, "web", FILES);
    assert_eq!(run(&user(None, None)).unwrap().uid, 1000);
    let given = run(&user(Some(User::Id(5)), Some(6))).unwrap();
    assert_eq!((given.uid, given.gid), (5, 6));
    assert_eq!(run(&user(Some(User::Name("root".into())), None)).unwrap().uid, 0);
    assert_eq!(run(&user(None, Some(6))).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn an_image_without_files_still_has_numbers() {
    let none = Files::default();
    assert_eq!(resolve_text("12:34", &[], GroupsPolicy::Merge, none).unwrap().gid, 34);
    assert!(resolve_text("root", &[], GroupsPolicy::Merge, none).is_err());
}
