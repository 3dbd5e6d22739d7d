//! Programs that a test puts in place and has executed at once.
//!
//! Another process writes them. A descriptor for writing of this process would be copied into whatever
//! another thread forks at that moment, and until that one has executed its own program, to execute the file
//! fails with ETXTBSY ([execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)).

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program of this text, which begins with `#!`, at `path`, with mode 0755. One that is there is replaced at once.
///
/// # Panics
/// If it cannot be written.
pub fn script(path: impl AsRef<Path>, text: impl AsRef<str>) {
    install(path.as_ref(), |command| {
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text.as_ref().as_bytes())?;
        }
        child.wait()
    });
}

/// A copy of a program at `path`, with mode 0755.
///
/// # Panics
/// If it cannot be read or written.
pub fn copy(from: impl AsRef<Path>, path: impl AsRef<Path>) {
    install(path.as_ref(), |command| command.stdin(File::open(from.as_ref())?).status());
}

fn install(path: &Path, run: impl FnOnce(&mut Command) -> std::io::Result<std::process::ExitStatus>) {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let status = run(Command::new("install").args(["-m", "755", "/dev/stdin"]).arg(&new));
    assert!(matches!(status, Ok(status) if status.success()), "install {}: {status:?}", path.display());
    let renamed = std::fs::rename(&new, path);
    assert!(renamed.is_ok(), "rename to {}: {renamed:?}", path.display());
}
