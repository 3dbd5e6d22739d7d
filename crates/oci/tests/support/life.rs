//! A container through the commands of a runtime, removed at the end.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::bundle::{Bundle, Runtime};
use super::unique;

/// A container of a bundle, and what is left of it removed when this is dropped.
pub struct Life<'a> {
    pub bundle: &'a Bundle,
    pub runtime: Runtime,
    pub id: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    #[track_caller]
    pub fn fine(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    #[track_caller]
    pub fn refused(self, word: &str) {
        assert!(self.code != 0 && self.err.contains(word), "{self:?}, wanted {word:?}");
    }
}

impl<'a> Life<'a> {
    pub fn new(bundle: &'a Bundle, runtime: Runtime) -> Self {
        let id = unique();
        bundle.write(&id);
        Self { bundle, runtime, id }
    }

    /// A command with the root of this bundle, and nothing else.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.runtime.program());
        command.arg("--root").arg(self.bundle.state()).args(words);
        command.stdin(Stdio::null());
        command
    }

    pub fn call(&self, words: &[&str]) -> Said {
        Said::of(&self.command(words).output().expect("the runtime is there"))
    }

    /// What the container writes goes to a file: it outlives `create`.
    pub fn create(&self, options: &[&str]) -> Said {
        let file = |name: &str| {
            let path = self.bundle.path().join(name);
            std::fs::OpenOptions::new().create(true).append(true).open(path).expect("open")
        };
        let bundle = self.bundle.path().to_str().expect("a path");
        let mut command = self.command(&["create", "--bundle", bundle]);
        command.args(options).arg(&self.id).stdout(file("out")).stderr(file("err"));
        let output = command.output().expect("the runtime is there");
        Said { err: self.text("err"), ..Said::of(&output) }
    }

    /// What is in a file of the bundle.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.bundle.path().join(name)).unwrap_or_default()
    }

    pub fn verb(&self, verb: &str) -> Said {
        self.call(&[verb, &self.id])
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.verb("state").fine()).expect("json")
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("text").to_owned()
    }

    /// Waits until the container is in this state.
    #[track_caller]
    pub fn until(&self, status: &str) {
        wait_until(|| self.status() == status, || format!("{} is {}", self.id, self.status()));
    }

    /// Whether its cgroup is in any hierarchy.
    pub fn has_cgroup(&self) -> bool {
        let host = berth_sys::cgroup::Host::detect().expect("cgroups");
        host.hierarchies().iter().any(|h| h.mount.join(&self.id).exists())
    }

    /// A value of its cgroup.
    pub fn cgroup(&self, v1: &str, v2: &str) -> String {
        let host = berth_sys::cgroup::Host::detect().expect("cgroups");
        let dirs = host.hierarchies().iter().map(|h| h.mount.join(&self.id));
        let found = dirs.flat_map(|d| [d.join(v1), d.join(v2)]).find_map(|f| std::fs::read_to_string(f).ok());
        found.expect("the setting is somewhere").trim().to_owned()
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        drop(self.call(&["delete", "--force", &self.id]));
    }
}

/// Looks again until it is so, for a minute.
#[track_caller]
pub fn wait_until(mut so: impl FnMut() -> bool, what: impl Fn() -> String) {
    let begun = std::time::Instant::now();
    while !so() {
        assert!(begun.elapsed().as_secs() < 60, "{}", what());
        std::thread::yield_now();
    }
}
