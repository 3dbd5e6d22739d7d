//! Programs of the host that do one thing for the daemon and end.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What is read of its errors at most.
const MAX_SAID: u64 = 16 << 10;

/// Runs a program to its end, at most for so long, with this as its input and without any variables. It is killed when it is late, or
/// nobody waits any more.
///
/// # Errors
/// The program, what became of it, and its own last words.
pub(crate) async fn run(
    program: &OsStr,
    arguments: &[OsString],
    input: &[u8],
    limit: Duration,
) -> Result<(), String> {
    let name = program.display();
    match tokio::time::timeout(limit, to_its_end(program, arguments, input)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(format!("{name}: {why}")),
        Err(_) => Err(format!("{name} did not end within {} seconds", limit.as_secs_f32())),
    }
}

async fn to_its_end(program: &OsStr, arguments: &[OsString], input: &[u8]) -> Result<(), String> {
    let failed = |error: io::Error| error.to_string();
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("stdin was asked for");
    // A program that ends without reading says why.
    drop(stdin.write_all(input).await);
    drop(stdin);
    let mut said = Vec::new();
    let stderr = child.stderr.take().expect("stderr was asked for");
    stderr.take(MAX_SAID).read_to_end(&mut said).await.map_err(failed)?;
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    Err(format!("{status}: {}", line.unwrap_or("without a word")))
}
