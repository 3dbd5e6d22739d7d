//! Rules about documents.

use std::path::Path;

use sha2::{Digest, Sha256};

/// Documents whose paths must exist.
const DOCUMENTS: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/testing.md"];

/// The first parts of paths of this project.
const TOPS: [&str; 8] =
    ["crates/", "docs/", "examples/", "tests/", "xtask/", ".ci/", ".cargo/", "SPECIFICATION.md"];

/// k8s.io/cri-api v0.37.2, pkg/apis/runtime/v1/api.proto.
const PROTO: (&str, &str) =
    ("crates/cri/proto/api.proto", "381aab5cf67425b3c90ab016489de661ccb83ed9f21204066dc5df83b9b83360");

/// Paths in backquotes that name nothing.
pub(super) fn paths(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for document in DOCUMENTS {
        let Ok(text) = std::fs::read_to_string(root.join(document)) else {
            problems.push(format!("{document} does not exist"));
            continue;
        };
        for path in named_paths(&text) {
            if !root.join(&path).exists() {
                problems.push(format!("{document}: {path} does not exist"));
            }
        }
    }
    problems
}

/// What stands in backquotes or as a link's target and looks like a path of this project.
pub(super) fn named_paths(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let ours = |path: &&str| {
        TOPS.iter().any(|top| path.starts_with(top))
            && !path.contains(|c: char| c.is_whitespace() || "*{<$|".contains(c))
    };
    let bare = |path: &str| path.split('#').next().unwrap_or(path).trim_end_matches('/').to_owned();
    quoted.chain(linked).filter(ours).map(bare).collect()
}

/// The changelog must exist and have a place for what is new.
pub(super) fn changelog(root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join("CHANGELOG.md")).unwrap_or_default();
    if text.contains("## ") { Vec::new() } else { vec!["CHANGELOG.md has no section".to_owned()] }
}

/// The interface is vendored: a change to it is a change of what is promised.
pub(super) fn proto(root: &Path) -> Vec<String> {
    let (path, pinned) = PROTO;
    let Ok(bytes) = std::fs::read(root.join(path)) else { return vec![format!("{path} does not exist")] };
    let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if sum == pinned { Vec::new() } else { vec![format!("{path} has the sum {sum}, pinned is {pinned}")] }
}
