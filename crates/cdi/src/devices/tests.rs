use super::*;

/// Directories in the order of [`DIRS`], with files that each have devices whose edits say where they come from.
struct World {
    root: tempfile::TempDir,
    dirs: Vec<PathBuf>,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["etc", "run"].map(|name| root.path().join(name)).to_vec();
        dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        Self { root, dirs }
    }

    fn file(&self, name: &str, devices: &[&str]) {
        let devices: Vec<_> = devices
            .iter()
            .map(|device| serde_json::json!({ "name": device, "containerEdits": { "env": [format!("D={name}:{device}")] } }))
            .collect();
        let env = [format!("FILE={name}")];
        let spec = serde_json::json!({
            "cdiVersion": "0.7.0", "kind": "v.com/x", "devices": devices,
            "containerEdits": { "env": env, "additionalGids": [0, 7] },
        });
        std::fs::write(self.root.path().join(name), spec.to_string()).unwrap();
    }

    fn resolve(&self, names: &[&str]) -> Result<Edits, String> {
        let names: Vec<Name> = names.iter().map(|name| format!("v.com/x={name}").parse().unwrap()).collect();
        Devices::read(&self.dirs).resolve(&names).map_err(|error| error.to_string())
    }
}

#[test]
fn what_changes_with_all_devices_of_a_file_changes_once() {
    let world = World::new();
    world.file("etc/a.json", &["one", "two"]);
    let edits = world.resolve(&["two", "one", "two"]).unwrap();
    assert_eq!(edits.env, ["FILE=etc/a.json", "D=etc/a.json:two", "D=etc/a.json:one"]);
    assert_eq!(edits.additional_gids, [7]);
    assert_eq!(world.resolve(&[]).unwrap(), Edits::default());
}

#[test]
fn a_later_directory_takes_the_place_of_an_earlier_one() {
    let world = World::new();
    world.file("etc/a.json", &["one", "two"]);
    world.file("run/z.json", &["two"]);
    let edits = world.resolve(&["one", "two"]).unwrap();
    assert_eq!(edits.env, ["FILE=etc/a.json", "D=etc/a.json:one", "FILE=run/z.json", "D=run/z.json:two"]);
}

#[test]
fn devices_that_two_files_of_a_directory_have_are_refused_alone() {
    let world = World::new();
    world.file("etc/a.json", &["one", "two"]);
    world.file("etc/b.json", &["two"]);
    world.file("etc/c.json", &["two"]);
    world.resolve(&["one"]).unwrap();
    let error = world.resolve(&["two"]).unwrap_err();
    assert!(
        error.contains("etc/a.json and in ") && error.contains("etc/b.json: remove it from one"),
        "{error}"
    );
    world.file("run/a.json", &["two"]);
    world.resolve(&["two"]).unwrap();
}

#[test]
fn an_unknown_device_is_told_with_what_there_is() {
    let world = World::new();
    let error = world.resolve(&["one"]).unwrap_err();
    assert_eq!(error, "there is no device v.com/x=one");
    world.file("etc/a.json", &["two"]);
    std::fs::write(world.dirs[1].join("broken.yaml"), "kind: [").unwrap();
    std::fs::write(world.dirs[1].join("notes.txt"), "no file of devices").unwrap();
    let error = world.resolve(&["one"]).unwrap_err();
    assert!(error.starts_with("there is no device v.com/x=one (there are v.com/x=two); "), "{error}");
    assert!(error.contains("run/broken.yaml: ") && !error.contains("notes.txt"), "{error}");
    // The others can be used.
    world.resolve(&["two"]).unwrap();
    assert_eq!(Devices::read(&world.dirs).faults().len(), 1);
}

#[test]
fn directories_need_not_be_there() {
    let devices = Devices::read(&["/nonexistent/cdi".into()]);
    assert!(devices.faults().is_empty());
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(Devices::read(&[file.path().to_owned()]).faults().len(), 1);
}

#[test]
fn what_is_no_file_is_named_and_not_waited_for() {
    let world = World::new();
    world.file("etc/a.json", &["one"]);
    let fifo = world.dirs[1].join("fifo.json");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, rustix::fs::Mode::RUSR, 0).unwrap();
    world.resolve(&["one"]).unwrap();
    let error = world.resolve(&["two"]).unwrap_err();
    assert!(error.contains("fifo.json: it is no regular file"), "{error}");
}
