use super::*;

#[test]
fn places_are_here_or_inside() {
    let inside = |container, path| Place::Inside { container, path };
    for (text, expected) in [
        ("web:/a", inside("web", "/a")),
        ("shared/writer:a", inside("shared/writer", "a")),
        ("web:", inside("web", "/")),
        ("a", Place::Here(Path::new("a"))),
        ("./a:b", Place::Here(Path::new("./a:b"))),
        ("/a:b", Place::Here(Path::new("/a:b"))),
    ] {
        assert_eq!(place(text), expected, "{text}");
    }
    for (path, dir, name) in
        [("/a/b", "/a", "b"), ("/a", "/", "a"), ("a", ".", "a"), ("/a/b/", "/a", "b"), ("/", ".", "")]
    {
        assert_eq!(parts(path), (dir, name), "{path}");
    }
}

fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        // The library refuses to write such paths, and a hostile tar does not.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o755);
        header.set_size(0);
        if let Some(target) = content.strip_prefix("->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name(target).unwrap();
            header.set_cksum();
            builder.append(&header, std::io::empty()).unwrap();
        } else if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_cksum();
            builder.append(&header, std::io::empty()).unwrap();
        } else {
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_directory_is_unpacked_under_its_name_or_another() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = archive(&[("d/", ""), ("d/a", "1"), ("d/e/", ""), ("d/e/b", "2")]);
    unpack(bytes.as_slice(), "d", dir.path()).unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("d/e/b")).unwrap(), "2");
    unpack(bytes.as_slice(), "d", &dir.path().join("new")).unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("new/a")).unwrap(), "1");
    let bytes = archive(&[("f", "3")]);
    unpack(bytes.as_slice(), "f", &dir.path().join("g")).unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("g")).unwrap(), "3");
}

#[test]
fn a_file_is_nobodys_program_with_the_callers_rights() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_path("f").unwrap();
    header.set_mode(0o6755);
    header.set_size(1);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b"x"[..]).unwrap();
    unpack(builder.into_inner().unwrap().as_slice(), "f", dir.path()).unwrap();
    let mode = std::fs::metadata(dir.path().join("f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn no_file_of_this_machine_is_linked_to() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s").unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_path("f").unwrap();
    header.set_link_name(&secret).unwrap();
    header.set_size(0);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, std::io::empty()).unwrap();
    let to = dir.path().join("f");
    assert!(unpack(builder.into_inner().unwrap().as_slice(), "f", &to).is_err());
    assert!(!to.exists());
}

#[test]
fn nothing_is_written_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (to, out) = (dir.path().join("to"), dir.path().join("out"));
    std::fs::create_dir(&out).unwrap();
    for entries in [
        &[("d/", ""), ("d/../../out/x", "1")][..],
        &[("d/", ""), ("d/l", "->../../out"), ("d/l/x", "1")],
        &[("d", "->out"), ("d/x", "1")],
        &[("d", "->../out"), ("d/", ""), ("d/x", "1")],
        &[("d/", ""), ("d/", ""), ("d/x", "1")],
        &[("d/", ""), ("d/l", "->../../out"), ("d/l/", ""), ("d/l/x", "1")],
        &[("/out/x", "1")],
    ] {
        assert!(unpack(archive(entries).as_slice(), "d", &to.join("d")).is_err(), "{entries:?}");
        std::fs::remove_dir_all(&to).ok();
        std::fs::create_dir(&to).unwrap();
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0, "{entries:?}");
    }
    assert!(unpack(std::io::empty(), "d", &to).is_err());
}
