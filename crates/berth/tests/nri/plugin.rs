//! The Go plugin: its program, and what it was told.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use berth_testkit::guard::wait_for;
use serde_json::Value;

use crate::home::LIMIT;

/// The program, built once; the Go tool knows whether anything is to be done.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nri-plugin");
        let mut go = Command::new("go");
        go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/nri"));
        go.args(["build", "-o"]).arg(&program).arg(".");
        go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly").env("GOTOOLCHAIN", "local");
        let said = go.stdin(Stdio::null()).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        program
    })
}

/// A plugin that a test started; it is killed when it goes.
pub struct Plugin {
    child: Child,
    said: PathBuf,
}

impl Plugin {
    /// Connects a plugin of this mode, by its name too, to a daemon's socket; what it is told is in a file of that directory.
    pub fn connect(socket: &Path, index: &str, mode: &str, dir: &Path) -> Self {
        let said = dir.join(format!("{index}-{mode}.out"));
        let mut command = Command::new(program());
        command.arg("-socket").arg(socket).args(["-name", mode, "-index", index, "-mode", mode]);
        let log = std::fs::File::create(dir.join(format!("{index}-{mode}.log"))).unwrap();
        command.arg("-out").arg(&said).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { child: command.spawn().unwrap(), said }
    }

    /// Waits until it was told of that, by something in the line.
    #[track_caller]
    pub fn hears(&self, event: &str, word: &str) -> Value {
        heard(&self.said, event, word)
    }

    /// The events so far, of this container or pod, in their order.
    pub fn events(&self, of: &str) -> Vec<String> {
        let lines = lines(&self.said);
        let about = |line: &&Value| [&line["container"], &line["pod"]].iter().any(|name| **name == of);
        lines.iter().filter(about).map(|line| line["event"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn ends(&mut self) {
        wait_for(LIMIT, || self.child.try_wait().unwrap()).expect("the plugin ends");
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last may be written just now.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Whether a process of this program, of which there is one copy, is there.
pub fn runs(program: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .into_iter()
        .any(|process| std::fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe == program))
}

/// Waits until a line of this event with a word in it is in a plugin's file.
#[track_caller]
pub fn heard(file: &Path, event: &str, word: &str) -> Value {
    let found = wait_for(LIMIT, || {
        let mut lines = lines(file).into_iter();
        lines.find(|line| line["event"] == event && line.to_string().contains(word))
    });
    found.unwrap_or_else(|| panic!("no {event} with {word:?}: {:?}", lines(file)))
}
