//! The Go client: its program, its calls, what it tells.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::home::Call;

/// How a client reaches the server: the transport, and the protocols that it offers; without any, those of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way(pub &'static str, pub &'static str);

pub const SPDY: Way = Way("spdy", "");
pub const WEBSOCKET: Way = Way("websocket", "");
/// The ways in which an exit code is told.
pub const WITH_CODES: [Way; 4] =
    [SPDY, WEBSOCKET, Way("spdy", "v4.channel.k8s.io"), Way("websocket", "v4.channel.k8s.io")];
/// Those in which it is only told that the command failed.
pub const WITH_TEXT: [Way; 6] = [
    Way("spdy", "v3.channel.k8s.io"),
    Way("spdy", "v2.channel.k8s.io"),
    Way("spdy", "channel.k8s.io"),
    Way("websocket", "v3.channel.k8s.io"),
    Way("websocket", "v2.channel.k8s.io"),
    Way("websocket", "channel.k8s.io"),
];

fn go_module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/streaming")
}

/// The program, built once; the Go tool knows whether anything is to be done.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("streaming-client");
        let mut go = Command::new("go");
        go.current_dir(go_module()).args(["build", "-o"]).arg(&program).arg(".");
        go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly").env("GOTOOLCHAIN", "local");
        let said = go.stdin(Stdio::null()).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        program
    })
}

/// What happened to one exec or attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// -1 when it failed otherwise.
    pub code: i64,
    pub error: String,
    /// The text, or its sum.
    pub stdout: String,
    pub stderr: String,
    pub bytes: u64,
}

impl Outcome {
    /// The outcomes that a client has told; it ended well itself.
    #[track_caller]
    pub fn all(call: Call) -> Vec<Self> {
        let out = call.end().fine();
        let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.map(|line: Value| Self::of(&line)).collect()
    }

    #[track_caller]
    pub fn one(call: Call) -> Self {
        let mut all = Self::all(call);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn of(line: &Value) -> Self {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        Self {
            code: line["code"].as_i64().unwrap(),
            error: text("error"),
            stdout: text("stdout"),
            stderr: text("stderr"),
            bytes: line["bytes"].as_u64().unwrap(),
        }
    }
}
