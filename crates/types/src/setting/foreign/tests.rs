use std::collections::BTreeSet;

use super::*;
use crate::setting::Key;

#[test]
fn every_key_that_is_named_exists() {
    for program in [Program::Containerd, Program::Crio] {
        let mut seen = BTreeSet::new();
        for foreign in program.keys() {
            assert!(seen.insert(foreign.path), "{} is there twice", foreign.path);
            if let Verdict::Key(name, _) = foreign.verdict {
                assert!(Key::find(name).is_some(), "{}: {name}", foreign.path);
            }
        }
    }
}

#[test]
fn no_key_hides_behind_one_that_is_wider() {
    for program in [Program::Containerd, Program::Crio] {
        for foreign in program.keys() {
            let path: Vec<_> = foreign.path.split('.').collect();
            assert_eq!(program.find(&path).map(|found| found.path), Some(foreign.path));
        }
    }
}

#[test]
fn paths_fit_whole_names() {
    let found = |path: &str| {
        let path: Vec<_> = path.split('.').collect();
        Program::Containerd.find(&path).map(|foreign| foreign.path)
    };
    assert_eq!(
        found("cri.containerd.runtimes.kata.runtime_type"),
        Some("cri.containerd.runtimes.*.runtime_type")
    );
    assert_eq!(
        found("cri.containerd.runtimes.runc.options.Root"),
        Some("cri.containerd.runtimes.*.options.**")
    );
    assert_eq!(found("cri.containerd.runtimes"), None);
    assert_eq!(found("cri.cni"), None);
    assert_eq!(found("nosuch"), None);
}
