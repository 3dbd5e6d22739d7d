//! The way to a daemon: find its socket, start one if none runs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::api::berth_client::BerthClient;
use crate::serve::settings::{Given, Layers, Settings, socket_path};

/// The client of Berth's own service.
pub(crate) type Client = BerthClient<Channel>;

/// How long a daemon that was just started may take until it answers.
const START: Duration = Duration::from_secs(20);
/// How often its socket is tried until then.
const RETRY: Duration = Duration::from_millis(20);

/// Where the flags of [`Reach`] stand in every command's help: below its own.
const HEADING: &str = "Which daemon";

/// Which daemon.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Reach {
    /// The daemon's socket [default: $BERTH_HOST, or unix:///run/berth/berth.sock]
    #[arg(long, global = true, value_name = "unix:///PATH", help_heading = HEADING)]
    host: Option<String>,
    /// The instance whose daemon is meant [default: $BERTH_INSTANCE]
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "host", help_heading = HEADING)]
    pub(crate) instance: Option<String>,
    /// Fail when no daemon runs, instead of starting one
    #[arg(long, global = true, help_heading = HEADING)]
    no_autostart: bool,
}

impl Reach {
    /// These flags, or without them what the environment says. A flag wins over all of the environment: `--instance`
    /// must not mean the socket of a profile.
    pub(crate) fn or_environment(self, variable: impl Fn(&str) -> Option<String>) -> Self {
        if self.host.is_some() || self.instance.is_some() {
            return self;
        }
        let given = |name| variable(name).filter(|value| !value.is_empty());
        Self { host: given("BERTH_HOST"), instance: given("BERTH_INSTANCE"), ..self }
    }

    /// The socket that was named, so that the instance's own is not meant.
    pub(crate) fn named_socket(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The settings that the daemon of this instance would have.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let flags = Given { instance: self.instance.clone(), ..Given::default() };
        Ok(Layers::read(&flags, None)?.resolve()?)
    }

    fn socket(&self) -> anyhow::Result<PathBuf> {
        match &self.host {
            Some(host) => socket_path(host).with_context(|| {
                format!("--host {host:?}: expected an address such as unix:///run/berth/berth.sock")
            }),
            None => Ok(self.settings()?.socket),
        }
    }

    /// The daemon's client; starts a daemon if none runs and that is allowed.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let socket = self.socket()?;
        if let Some(client) = connect(&socket).await? {
            return Ok(client);
        }
        if self.no_autostart || self.host.is_some() {
            bail!("no daemon is listening on {} (hint: start one with: berth serve)", socket.display());
        }
        start(self.instance.as_deref(), &self.settings()?, &socket).await
    }

    /// The client of a daemon that runs already; None when there is none.
    pub(crate) async fn running(&self) -> anyhow::Result<Option<Client>> {
        connect(&self.socket()?).await
    }
}

/// A connection to the daemon on `socket`; None when no process listens there.
async fn connect(socket: &Path) -> anyhow::Result<Option<Client>> {
    match UnixStream::connect(socket).await {
        Ok(_) => {}
        // Reset: it ended with this connection still waiting to be accepted.
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
            ) =>
        {
            return Ok(None);
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            bail!("connect to {}: {e} (hint: Berth needs root: try sudo)", socket.display());
        }
        Err(e) => return Err(e).with_context(|| format!("connect to {}", socket.display())),
    }
    let path = socket.to_owned();
    let channel = Endpoint::from_static("http://berth")
        .connect_with_connector(service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .with_context(|| format!("communicate with the daemon on {}", socket.display()))?;
    Ok(Some(BerthClient::new(channel).max_decoding_message_size(64 << 20)))
}

/// Starts a daemon in the background and waits until it answers.
async fn start(instance: Option<&str>, settings: &Settings, socket: &Path) -> anyhow::Result<Client> {
    if !rustix::process::geteuid().is_root() {
        bail!("no daemon runs, and only root can start one (hint: try sudo)");
    }
    crate::serve::private_dir(&settings.state)?;
    let log_path = settings.state.join("daemon.log");
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("open the daemon's log {}", log_path.display()))?;
    let program = std::env::current_exe().context("find the path of this program")?;
    let mut command = Command::new(program);
    command.args(["serve", "--background"]).args(instance.iter().flat_map(|name| ["--instance", name]));
    let mut daemon = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .current_dir("/")
        .spawn()
        .context("start a daemon")?;
    let begun = Instant::now();
    loop {
        if let Some(client) = connect(socket).await? {
            return Ok(client);
        }
        if let Some(status) = daemon.try_wait().context("wait for the daemon")? {
            // Another one may have been faster.
            if let Some(client) = connect(socket).await? {
                return Ok(client);
            }
            bail!("the daemon did not start ({status}): {}", last_line(&log_path));
        }
        if begun.elapsed() > START {
            bail!(
                "the daemon did not answer within {} s (hint: see {})",
                START.as_secs(),
                log_path.display()
            );
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it logged no reason").to_owned()
}

/// The connection to the daemon was lost in the middle of a call.
#[derive(Debug, thiserror::Error)]
#[error("the connection to the daemon was lost ({0})")]
pub(crate) struct Lost(String);

/// The first cause of all.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// What a status says, as an error for users.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn told(status: tonic::Status) -> anyhow::Error {
    match status.code() {
        tonic::Code::Unavailable if status.message().is_empty() => {
            Lost("no answer was received".to_owned()).into()
        }
        // Not an error of the daemon but of the connection.
        _ if std::error::Error::source(&status).is_some() => Lost(root(&status)).into(),
        _ => anyhow::anyhow!("{}", status.message()),
    }
}
