//! `berth exec` and `berth attach`.

use std::process::ExitCode;

use super::stream::{Leave, Session};
use super::{about, environment, exit_code};
use crate::api;
use crate::client::{Reach, told};
use crate::output::note;
use crate::terminal;

/// `berth exec`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  berth exec -it web sh
  berth exec -e DEBUG=1 -w /srv shared/writer ls -l

Exit status: the command's own; 125 when Berth failed, 126 or 127 when the command cannot be executed.")]
pub(crate) struct Exec {
    /// In the background: what the command writes is not kept
    #[arg(short, long)]
    detach: bool,
    /// The container of the pod, as POD/CONTAINER says it, too
    #[arg(short = 'c', long = "container", value_name = "NAME")]
    of_pod: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Environment variable; without a value it is taken from here; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// User, and group, to run as [default: the container's]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// A container (POD/CONTAINER, or an id or its beginning), or a pod that has only one
    container: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

impl Exec {
    /// Runs the command; its exit status is ours.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let (tty, stdin) = (self.tty && !self.detach, self.interactive && !self.detach);
        terminal::demand(tty, stdin)?;
        let mut client = reach.client().await?;
        let name = super::in_pod(&self.container, self.of_pod.as_deref());
        let start = api::ExecStart {
            container: name.clone(),
            argv: self.command,
            env: environment(&self.env)?.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            user: self.user.unwrap_or_default(),
            working_dir: self.workdir.unwrap_or_default(),
            tty: self.tty,
            stdin,
            size: if tty { terminal::size() } else { None },
            detach: self.detach,
        };
        let session = Session { tty, stdin, stops: None };
        let ended = session.exec(&mut client, start).await;
        ended.map(exit_code).map_err(|e| named(&name, e))
    }
}

/// `berth attach`
#[derive(Debug, clap::Args)]
pub(crate) struct Attach {
    /// A container (POD/CONTAINER, or an id or its beginning), or a pod that has only one
    container: String,
}

impl Attach {
    /// Joins the container until its output ends; its exit status is ours.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let found = super::logs::find(&mut client, &self.container).await?;
        let session =
            Session { tty: found.tty && terminal::is_interactive(), stdin: found.stdin, stops: None };
        let join = api::AttachStart {
            container: found.id.clone(),
            release: false,
            size: terminal::size(),
            stdin: found.stdin,
        };
        let left = session.attach(&mut client, join).await.map_err(|e| named(&self.container, e))?;
        if left == Leave::Left {
            note(format_args!("berth: {} goes on", self.container));
            return Ok(ExitCode::SUCCESS);
        }
        let end = client.wait(api::WaitRequest { container: found.id }).await.map_err(told)?.into_inner();
        Ok(exit_code(end.exit_code))
    }
}

/// An error with the container's name, unless it has it already or is our own output's.
fn named(container: &str, error: anyhow::Error) -> anyhow::Error {
    if error.chain().len() > 1 {
        return error;
    }
    anyhow::anyhow!(about(container, &error.to_string()))
}
