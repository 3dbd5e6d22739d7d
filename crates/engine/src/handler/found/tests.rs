use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn seen(is_file: bool, is_executable: bool) -> io::Result<Option<Seen>> {
    let identity = Identity { device: 1, inode: 2, size: 3, times: [(4, 5), (6, 7)] };
    Ok(Some(Seen { is_file, is_executable, identity }))
}

fn chosen<const N: usize>(all: [(&str, io::Result<Option<Seen>>); N]) -> Result<String, String> {
    match choose(all.map(|(path, seen)| (path.into(), seen))) {
        Ok(binary) => Ok(binary.path.display().to_string()),
        Err(why) => Err(why.map_or_else(|| "nothing".to_owned(), |why| why.to_string())),
    }
}

#[test]
fn the_first_that_can_be_executed_is_the_one() {
    assert_eq!(
        chosen([("/a", Ok(None)), ("/b", seen(true, true)), ("/c", seen(true, true))]),
        Ok("/b".into())
    );
    let all = [("/a", seen(true, false)), ("/b", seen(false, true)), ("/c", seen(true, true))];
    assert_eq!(chosen(all), Ok("/c".into()));
}

#[test]
fn what_is_in_the_way_is_said() {
    assert_eq!(chosen([("/a", Ok(None))]), Err("nothing".into()));
    let all = [("/a", Ok(None)), ("/b", seen(true, false)), ("/c", seen(false, true))];
    assert_eq!(chosen(all), Err("/b is not executable (hint: chmod +x)".into()));
    assert_eq!(chosen([("/a", seen(false, true))]), Err("/a is not a file".into()));
    let denied = Err(io::Error::from_raw_os_error(13));
    assert_eq!(
        chosen([("/a", denied)]),
        Err("/a cannot be looked at: Permission denied (os error 13)".into())
    );
}

#[test]
fn relative_directories_are_not_searched() {
    let search = Search { dirs: vec!["bin".into(), "".into(), "/usr/bin".into()], ..Search::default() };
    let places = ["/usr/bin/runc", "/usr/bin/containerd-shim-runc-v2"].map(PathBuf::from);
    assert_eq!(search.places("runc"), places);
    assert_eq!(search.places("kata"), [PathBuf::from("/usr/bin/containerd-shim-kata-v2")]);
}

#[test]
fn a_configured_path_is_the_only_place() {
    let configured =
        BTreeMap::from([("runc".to_owned(), "/opt/runc".into()), ("youki".to_owned(), "/y".into())]);
    let search = Search { dirs: vec!["/usr/bin".into()], configured };
    assert_eq!(search.names().collect::<Vec<_>>(), ["crun", "runsc", "runc", "youki"]);
    assert_eq!(search.places("runc"), [PathBuf::from("/opt/runc")]);
    assert!(search.has("youki") && !search.has("native") && !search.has("kata"));
}

#[test]
fn a_shim_has_the_name_of_its_program() {
    let dir = tempfile::tempdir().unwrap();
    let shim = |name: &str| {
        let path = dir.path().join(format!("containerd-shim-{name}-v2"));
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let kata = shim("kata");
    shim("Not_A_Name");
    shim("native");
    let configured = BTreeMap::from([("vm".to_owned(), "io.containerd.kata.v2".into())]);
    let search = Search { dirs: vec![dir.path().to_owned()], configured };
    assert_eq!(search.all(), ["crun", "kata", "runc", "runsc", "vm"]);
    assert!(search.has("kata") && search.has("vm"));
    assert!(!search.has("native") && !search.has("Not_A_Name") && !search.has("other"));
    for name in ["kata", "vm"] {
        let path = search.look(name).unwrap().path;
        assert_eq!(path, kata);
        assert_eq!(Kind::of(name, &path), Kind::Shim);
    }
    // The runtime of a name comes before the shim.
    shim("runc");
    std::fs::copy(&kata, dir.path().join("runc")).unwrap();
    assert_eq!(search.look("runc").unwrap().path, dir.path().join("runc"));
    assert_eq!(Kind::of("vm", Path::new("io.containerd.kata.v2")), Kind::Shim);
}

#[test]
fn names_say_what_a_runtime_is_driven_as() {
    for (name, program, kind) in [
        ("runc", "/usr/bin/runc", Kind::Runc),
        ("crun", "/usr/bin/crun", Kind::Runc),
        ("runsc", "/usr/bin/runsc", Kind::Gvisor),
        ("safe", "/opt/runsc-2026", Kind::Gvisor),
        ("gvisor", "/opt/x", Kind::Gvisor),
        ("x", "/opt/gvisor/x", Kind::Runc),
    ] {
        assert_eq!(Kind::of(name, Path::new(program)), kind, "{name} {program}");
    }
}

#[test]
fn a_file_that_is_replaced_or_changed_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let search = Search { dirs: vec![dir.path().to_owned()], ..Search::default() };
    let places = ["runc", "containerd-shim-runc-v2"].map(|name| dir.path().join(name)).to_vec();
    assert_eq!(search.look("runc"), Err(Missing::Nowhere(places)));
    let path = dir.path().join("runc");
    let put = |text: &str| {
        let new = dir.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&new, &path).unwrap();
    };
    put("one");
    let one = search.look("runc").unwrap();
    assert_eq!(search.look("runc"), Ok(one.clone()));
    put("two");
    let two = search.look("runc").unwrap();
    assert_ne!(one.identity, two.identity);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(search.look("runc"), Err(Missing::NotExecutable(path.clone())));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("gone", &path).unwrap();
    assert!(matches!(search.look("runc"), Err(Missing::Nowhere(_))));
}
