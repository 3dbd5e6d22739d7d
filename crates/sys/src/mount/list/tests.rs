use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::*;

const LIST: &[u8] = b"\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /dev rw - tmpfs shared:9 rw
210 21 0:6 /x /a\\040b rw,nosuid master:3 - tmpfs x rw,size=1k
23 21 0:7 / /both rw shared:4 master:1 - tmpfs  rw
24 21 0:7 / /\xff\\134 rw - tmpfs x rw
nonsense
1 2 - x
";

#[test]
fn the_fields_of_each_mount() {
    let list = parse_mountinfo(LIST);
    let given: Vec<_> = list.iter().map(|m| (m.id, m.shared, m.slave)).collect();
    let want =
        [(21, true, false), (22, false, false), (210, false, true), (23, true, true), (24, false, false)];
    assert_eq!(given, want, "what follows the dash is no tag");
    let spaced = &list[2];
    assert_eq!((&*spaced.device, &*spaced.root, &*spaced.point), ("0:6", Path::new("/x"), Path::new("/a b")));
    assert_eq!((&*spaced.kind, &*spaced.source, &*spaced.options), ("tmpfs", "x", "rw,size=1k"));
    assert_eq!((&*list[3].source, &*list[3].options), ("", "rw"));
    assert_eq!(list[4].point.as_os_str().as_bytes(), b"/\xff\\");
}

#[test]
fn escapes_are_undone_and_nothing_else() {
    for (written, meant) in
        [("/run/a\\040b", "/run/a b"), ("/plain", "/plain"), ("/odd\\", "/odd\\"), ("/\\9", "/\\9")]
    {
        assert_eq!(path(written.as_bytes()), Path::new(meant));
    }
}

#[test]
fn this_process_has_a_procfs() {
    assert!(mounted().unwrap().iter().any(|m| m.kind == "proc" && m.point == Path::new("/proc")));
}
