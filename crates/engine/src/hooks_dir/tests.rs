use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn parsed(said: &Value) -> Result<Entry, String> {
    parse(Path::new("/h/one.json"), said.to_string().as_bytes()).map_err(|e| e.to_string())
}

fn file(when: Value) -> Value {
    json!({ "version": "1.0.0", "hook": { "path": "/bin/true" }, "when": when, "stages": ["prestart"] })
}

fn is_for(when: Value, annotations: &[(&str, &str)], command: &str, has_bind_mounts: bool) -> bool {
    let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let subject = Subject { command, annotations: &annotations, has_bind_mounts };
    parsed(&file(when)).unwrap().is_for(&subject)
}

/// The cases of oci-hooks(5): all conditions have to be met, of the commands one; nothing set is never.
#[test]
fn conditions() {
    assert!(is_for(json!({ "always": true }), &[], "sh", false));
    assert!(!is_for(json!({ "always": false }), &[], "sh", false));
    assert!(!is_for(json!({}), &[], "sh", true));
    assert!(!is_for(json!({ "always": false, "commands": ["."] }), &[], "sh", false));
    assert!(is_for(json!({ "hasBindMounts": true }), &[], "sh", true));
    assert!(!is_for(json!({ "hasBindMounts": true }), &[], "sh", false));
    // As the others have it.
    assert!(!is_for(json!({ "hasBindMounts": false }), &[], "sh", false));
    let both = json!({ "annotations": { "^com\\.example\\.a$": "^yes$", "b": "\\d" } });
    assert!(is_for(both.clone(), &[("com.example.a", "yes"), ("xbx", "7")], "sh", false));
    assert!(!is_for(both.clone(), &[("com.example.a", "yes")], "sh", false));
    assert!(!is_for(both, &[("com.example.a", "yes"), ("xbx", "\u{0667}")], "sh", false));
    let commands = json!({ "commands": [".*/python$", "^sh$"] });
    assert!(
        is_for(commands.clone(), &[], "sh", false) && is_for(commands.clone(), &[], "/bin/python", false)
    );
    assert!(!is_for(commands, &[], "bash", false));
    let all = json!({ "always": true, "hasBindMounts": true, "commands": ["sh"] });
    assert!(is_for(all.clone(), &[], "sh", true));
    assert!(!is_for(all.clone(), &[], "sh", false) && !is_for(all, &[], "ls", true));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let change = |pointer: &str, to: Value| {
        let mut said = file(json!({ "always": true }));
        let (at, key) = pointer.rsplit_once('/').unwrap();
        let at = if at.is_empty() { &mut said } else { said.pointer_mut(at).unwrap() };
        at[key] = to;
        parsed(&said).unwrap_err()
    };
    for (pointer, to, words) in [
        ("/version", json!("0.1.0"), "/h/one.json: version 0.1.0 is not supported, 1.0.0 is"),
        ("/version", json!("2.0.0"), "version \"2.0.0\" is not known"),
        ("/hook/path", json!("true"), "hook.path: \"true\" is not an absolute path"),
        ("/hook/path", json!("/no/such"), "hook.path: /no/such: No such file"),
        ("/hook/timeout", json!(0), "hook.timeout: it is not above zero"),
        ("/stages", json!(["precreate"]), "stages[0]: \"precreate\" is none of prestart, createRuntime,"),
        ("/when/annotations", json!({ "(": "a" }), "when.annotations: \"(\" is no pattern"),
        ("/when/commands", json!(["a", "["]), "when.commands: \"[\" is no pattern"),
        ("/when/annotation", json!({}), "unknown field `annotation`"),
        ("/when/always", json!("true"), "expected a boolean"),
    ] {
        let error = change(pointer, to);
        assert!(error.starts_with("/h/one.json: ") && error.contains(words), "{pointer}: {error}");
    }
    let missing = parsed(&json!({ "version": "1.0.0", "hook": { "path": "/bin/true" } })).unwrap_err();
    assert!(missing.contains("missing field `stages`"), "{missing}");
    let broken = parse(Path::new("/h/two.json"), b"{\n  \"version\": \"1.0.0\",\n  oops\n}").unwrap_err();
    assert!(broken.to_string().contains("at line 3 column"), "{broken}");
}

#[test]
fn a_later_directory_counts_more_and_names_give_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let write = |of: &str, name: &str, path: &str| {
        let at = dir.path().join(of);
        std::fs::create_dir_all(&at).unwrap();
        let mut said = file(json!({ "always": true }));
        said["hook"]["path"] = json!(path);
        std::fs::write(at.join(name), said.to_string()).unwrap();
    };
    write("usr", "b.json", "/bin/true");
    write("usr", "A.json", "/bin/ls");
    write("usr", "c.json", "/bin/cat");
    write("etc", "b.json", "/bin/false");
    write("etc", "c.conf", "/bin/false");
    let dirs = ["usr", "etc", "none"].map(|of| dir.path().join(of));
    let paths = |entries: Vec<Entry>| -> Vec<PathBuf> {
        entries.iter().map(|entry| entry.hook.path().clone()).collect()
    };
    assert_eq!(paths(read(&dirs).unwrap()), ["/bin/ls", "/bin/false", "/bin/cat"].map(PathBuf::from));
    // One that is broken is not covered by one that is not read any more, and says where it is.
    std::fs::write(dirs[1].join("A.json"), "[]").unwrap();
    let error = read(&dirs).unwrap_err().to_string();
    assert!(error.starts_with(&dirs[1].join("A.json").display().to_string()), "{error}");
    // What never ends is no file.
    std::fs::remove_file(dirs[1].join("A.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", dirs[1].join("z.json")).unwrap();
    assert!(read(&dirs).is_err());
}

#[test]
fn hooks_are_added_behind_those_that_are_there() {
    let mut spec = Spec::default();
    spec.set_hooks(None);
    let mut said = file(json!({ "always": true }));
    said["stages"] = json!(["poststop", "createContainer"]);
    said["hook"] = json!({ "path": "/bin/ls", "args": ["ls", "-l"], "env": ["A=1"], "timeout": 3 });
    let entry = parsed(&said).unwrap();
    entry.add_to(&mut spec);
    entry.add_to(&mut spec);
    let hooks = spec.hooks().clone().unwrap();
    assert!(hooks.poststart().is_none() && hooks.poststop().as_ref().unwrap().len() == 2);
    let hook = &hooks.create_container().as_ref().unwrap()[0];
    assert_eq!(hook.args().as_deref(), Some(["ls".to_owned(), "-l".to_owned()].as_slice()));
    assert_eq!((hook.env().as_deref(), hook.timeout()), (Some(["A=1".to_owned()].as_slice()), Some(3)));
}

proptest! {
    /// Whatever a file has in it: an answer.
    #[test]
    fn any_bytes_are_an_entry_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _either = parse(Path::new("/h/any.json"), &bytes);
    }

    /// The same of what is nearly right.
    #[test]
    fn a_file_that_was_damaged_is_an_entry_or_an_error(at in 0..200usize, byte in any::<u8>(), cut in 0..200usize) {
        let when = json!({ "always": true, "annotations": { "^a(b|c)+$": "[0-9]*" }, "commands": ["x"] });
        let mut bytes = file(when).to_string().into_bytes();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % 3 * (cut % length) / 3);
        let _either = parse(Path::new("/h/any.json"), &bytes);
    }

    /// Patterns are other people's, and take no more than a moment and a bounded space.
    #[test]
    fn any_pattern_is_one_or_an_error(text in "\\PC{0,60}") {
        if let Ok(pattern) = pattern(&text) {
            pattern.is_match(text.as_bytes());
        }
    }
}
