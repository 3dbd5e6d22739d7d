//! A manifest and what it must do: the lines that begin with `#: ` are YAML of an [`Expect`].

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// What must be seen of a manifest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// What it shows, in a sentence.
    pub about: String,
    /// `play` refuses it with all of these, and makes nothing.
    pub refused: Vec<String>,
    /// `play` fails with all of these after it began.
    pub fails: Vec<String>,
    /// `play` says these on the way.
    pub says: Vec<String>,
    /// `play` does not end by itself.
    pub waits: bool,
    /// Commands in the directory that `/tmp/corpus` stands for, before.
    pub before: String,
    /// The same, when the manifest is down.
    pub after: String,
    /// The pod that is looked at; without it the first of the manifest.
    pub pod: String,
    /// A part of the pod's status, as `berth pods -o yaml` shows it.
    pub status: Value,
    /// By container: lines of its log, in this order.
    pub logs: BTreeMap<String, Vec<String>>,
    /// Calls of the command line, one after another.
    pub calls: Vec<Call>,
}

/// A call, tried until it answers so.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Call {
    pub berth: Vec<String>,
    /// Its exit status.
    pub code: i32,
    /// Each is in what it writes.
    pub says: Vec<String>,
    /// None is.
    pub lacks: Vec<String>,
}

/// A file of the corpus.
#[derive(Debug, Clone)]
pub struct Case {
    pub file: String,
    pub text: String,
    pub expect: Expect,
}

/// The corpus, by name.
pub fn all() -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/manifests");
    let mut paths: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let yaml = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.map(|path| read(path)).collect()
}

fn read(path: &Path) -> Case {
    let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#: ")).collect();
    let expect = serde_saphyr::from_str(&lines.join("\n")).unwrap_or_else(|e| panic!("{file}: {e}"));
    Case { file, text, expect }
}

impl Case {
    /// Kind, namespace and name of each document that can be read.
    pub fn names(&self) -> Vec<String> {
        let Ok(all) = serde_saphyr::from_multiple::<Value>(&self.text) else { return Vec::new() };
        let played = if self.expect.refused.is_empty() { all } else { Vec::new() };
        let word = |of: &Value, key: &str| of["metadata"][key].as_str().unwrap_or("default").to_owned();
        let full = |of: Value| {
            format!(
                "{} {}/{}",
                of["kind"].as_str().unwrap_or_default(),
                word(&of, "namespace"),
                word(&of, "name")
            )
        };
        played.into_iter().map(full).collect()
    }

    /// The pod that is looked at.
    pub fn pod(&self) -> String {
        if !self.expect.pod.is_empty() {
            return self.expect.pod.clone();
        }
        let all = serde_saphyr::from_multiple::<Value>(&self.text).unwrap_or_default();
        let pod = all.into_iter().find(|one| one["kind"] == "Pod");
        pod.and_then(|pod| Some(pod["metadata"]["name"].as_str()?.to_owned())).unwrap_or_default()
    }
}
