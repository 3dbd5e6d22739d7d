//! `berth login` and `berth logout`: credentials in the file that docker and podman read, too.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use berth_image::credentials::{AuthFile, Environment};
use tokio::signal::unix::{SignalKind, signal};

use crate::api;
use crate::client::{Reach, told};
use crate::output::{line, note};
use crate::terminal;

/// The registry of names without one.
const HUB: &str = "docker.io";
/// The exit status after Ctrl-C, as a shell has it.
const INTERRUPTED: u8 = 130;
/// The longest password.
const MAX_PASSWORD: u64 = 64 << 10;

/// `berth login`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The file is $REGISTRY_AUTH_FILE, or config.json in $DOCKER_CONFIG or ~/.docker, which docker and podman read
as well. Where it names a credential helper, that one keeps the password.

Example:
  echo $TOKEN | berth login -u me --password-stdin registry.example"
)]
pub(crate) struct Login {
    /// User name [default: asked for]
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password; others on this machine can see it [default: asked for]
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// File for the credentials
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// The registry, as it stands in names of images [default: docker.io]
    registry: Option<String>,
}

/// `berth logout`
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    /// File with the credentials
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// The registry, as it stands in names of images [default: docker.io]
    registry: Option<String>,
}

/// A registry as names of images have it: `https://index.docker.io/v1/` is docker.io.
fn host(given: Option<&str>) -> anyhow::Result<String> {
    let text = given.unwrap_or(HUB);
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    if host.is_empty() || !matches!(path.trim_end_matches('/'), "" | "v1" | "v2") {
        bail!("{text:?} is not a registry (hint: give its host alone, such as registry.example:5000)");
    }
    Ok(match host {
        "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    })
}

fn file(given: Option<PathBuf>, registry: &str) -> anyhow::Result<AuthFile> {
    given.map(AuthFile::at).or_else(|| AuthFile::standard(&Environment::from_process(), registry)).context(
        "there is no place for credentials: HOME is not set (hint: --authfile FILE, or REGISTRY_AUTH_FILE)",
    )
}

impl Login {
    /// Asks the registry, then keeps the credentials.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let registry = host(self.registry.as_deref())?;
        let file = file(self.authfile, &registry)?;
        if self.password_stdin && self.username.is_none() {
            bail!("--password-stdin needs --username");
        }
        let username = match self.username {
            Some(username) => username,
            None => match asked(&format!("Username for {registry}: "), false).await? {
                Some(username) => username,
                None => return Ok(ExitCode::from(INTERRUPTED)),
            },
        };
        if username.is_empty() || username.contains(|c: char| c == ':' || c.is_control()) {
            bail!("a user name is needed, without a colon");
        }
        let password = match (self.password, self.password_stdin) {
            (Some(password), _) => {
                note("berth: a password on the command line can be seen by others (hint: --password-stdin)");
                password
            }
            (None, true) => from_stdin()?,
            (None, false) => match asked(&format!("Password for {username}: "), true).await? {
                Some(password) => password,
                None => return Ok(ExitCode::from(INTERRUPTED)),
            },
        };
        if password.is_empty() {
            bail!("the password is empty");
        }
        let auth = api::ImageAuth {
            server: registry.clone(),
            username: username.clone(),
            password: password.clone(),
            ..api::ImageAuth::default()
        };
        let mut client = reach.client().await?;
        client
            .login(api::LoginRequest { registry: registry.clone(), auth: Some(auth) })
            .await
            .map_err(told)?;
        file.keep(&registry, &username, &password).await?;
        line("Login Succeeded")?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Logout {
    /// Forgets the credentials.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let registry = host(self.registry.as_deref())?;
        let mut forgotten = false;
        // Each file that knows it: what is left in a later one would be sent.
        while file(self.authfile.clone(), &registry)?.forget(&registry).await? {
            forgotten = true;
        }
        if forgotten {
            line(format_args!("Removed login credentials for {registry}"))?;
        } else {
            note(format_args!("not logged in to {registry}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a pipe has, without the end of its line.
fn from_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().take(MAX_PASSWORD).read_to_string(&mut text);
    read.context("read the password from standard input")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// What the user types; a secret is not shown. None after Ctrl-C, with the terminal as it was.
async fn asked(question: &str, secret: bool) -> anyhow::Result<Option<String>> {
    if !std::io::stdin().is_terminal() {
        bail!("standard input is not a terminal on which to ask (hint: -u NAME --password-stdin)");
    }
    // Before the echo is off: from here on the signal ends nothing by itself.
    let mut interrupts = signal(SignalKind::interrupt()).context("wait for Ctrl-C")?;
    write!(std::io::stderr(), "{question}").context("write output")?;
    let silent = if secret { Some(terminal::Silent::set()?) } else { None };
    let typed = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        std::io::stdin().read_line(&mut text).map(|_| text)
    });
    let text = tokio::select! {
        typed = typed => Some(typed.context("read the answer")?),
        _ = interrupts.recv() => None,
    };
    if silent.is_some() || text.is_none() {
        note("");
    }
    drop(silent);
    let text = text.transpose().context("read the answer")?;
    Ok(text.map(|text| text.trim_end_matches(['\n', '\r']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_in_many_ways() {
        for (given, meant) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("http://127.0.0.1:5000/"), "127.0.0.1:5000"),
            (Some("registry.example/v2"), "registry.example"),
        ] {
            assert_eq!(host(given).unwrap(), meant);
        }
        for wrong in ["", "https://", "registry.example/project"] {
            assert!(host(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
