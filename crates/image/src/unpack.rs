//! Unpacking of layers, in a process of its own with few rights.

use std::process::ExitCode;

/// The name (`argv[0]`) under which the unpacker is executed.
pub const PROGRAM: &str = "berth-unpack";

/// What one layer may contain; more is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Bytes of the decompressed tar.
    pub bytes: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// Bytes of tar for each compressed byte, once [`Limits::ratio_from`] bytes were made.
    pub ratio: u64,
    /// Bytes of tar below which the ratio does not matter.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 30, entries: 5_000_000, ratio: 1000, ratio_from: 1 << 30 }
    }
}

/// The whole life of the unpacking process: call it first in `main` when `argv[0]` is [`PROGRAM`].
pub fn worker_main() -> ExitCode {
    unimplemented!()
}
