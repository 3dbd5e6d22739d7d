//! docker's credential helpers: `docker-credential-NAME get`, `store` and `erase`, the server on standard input, a JSON
//! object on standard output. Time and output are bounded, what it prints is never shown.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Credentials, Secret};

/// The most time a helper is given.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// The most output read.
const MAX_OUTPUT: u64 = 64 << 10;
/// What helpers print for a server they do not know; they have no other way to say it.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";

/// What a credential helper did wrong.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The name is not one.
    #[error("{0:?} is not the name of a credential helper")]
    Name(String),
    /// It cannot be run.
    #[error("run docker-credential-{name}")]
    Run {
        /// The helper.
        name: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It did not end in time.
    #[error("docker-credential-{0} did not answer in time")]
    Timeout(String),
    /// It reported a failure.
    #[error("docker-credential-{name} failed with {status}")]
    Failed {
        /// The helper.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// Its output is not a helper's.
    #[error("docker-credential-{0} returned malformed credentials")]
    Output(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// Asks the helper `name` for `server`; None when it knows none.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credentials>, HelperError> {
    check(name)?;
    ask(name, format!("docker-credential-{name}").as_ref(), server, TIMEOUT).await
}

fn check(name: &str) -> Result<(), HelperError> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(valid) {
        return Err(HelperError::Name(name.to_owned()));
    }
    Ok(())
}

/// Has the helper `name` store or erase something.
pub(super) async fn tell(name: &str, verb: &str, input: &str) -> Result<(), HelperError> {
    check(name)?;
    let program = format!("docker-credential-{name}");
    let done = tokio::time::timeout(TIMEOUT, output(name, program.as_ref(), verb, input)).await;
    let (status, _) = done.map_err(|_| HelperError::Timeout(name.to_owned()))??;
    if status.success() { Ok(()) } else { Err(HelperError::Failed { name: name.to_owned(), status }) }
}

/// Asks this program, whatever its name.
pub(super) async fn ask(
    name: &str,
    program: &OsStr,
    server: &str,
    limit: Duration,
) -> Result<Option<Credentials>, HelperError> {
    match tokio::time::timeout(limit, run(name, program, server)).await {
        Ok(answer) => answer,
        Err(_) => Err(HelperError::Timeout(name.to_owned())),
    }
}

async fn run(name: &str, program: &OsStr, server: &str) -> Result<Option<Credentials>, HelperError> {
    let (status, output) = output(name, program, "get", server).await?;
    if !status.success() {
        return match String::from_utf8_lossy(&output).contains(NOT_FOUND) {
            true => Ok(None),
            false => Err(HelperError::Failed { name: name.to_owned(), status }),
        };
    }
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| HelperError::Output(name.to_owned()))?;
    Ok(match (answer.username.as_str(), answer.secret.is_empty()) {
        (_, true) => None,
        (TOKEN_USER, _) => Some(Credentials::IdentityToken(Secret::new(answer.secret))),
        _ => Some(Credentials::Basic { username: answer.username, password: Secret::new(answer.secret) }),
    })
}

/// How the program ends, and what it prints.
async fn output(
    name: &str,
    program: &OsStr,
    verb: &str,
    input: &str,
) -> Result<(std::process::ExitStatus, Vec<u8>), HelperError> {
    let failed = |source| HelperError::Run { name: name.to_owned(), source };
    let mut child = tokio::process::Command::new(program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("stdin was asked for");
    // A helper may end without reading; its answer then says why.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let stdout = child.stdout.take().expect("stdout was asked for");
    let mut output = Vec::new();
    stdout.take(MAX_OUTPUT).read_to_end(&mut output).await.map_err(failed)?;
    let status = child.wait().await.map_err(failed)?;
    Ok((status, output))
}
