//! A session with a container: keys in, output out, the terminal's size, Ctrl-C.

mod keys;

use std::io::{IsTerminal, Write};

use anyhow::{Context, bail};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::api::{self, input, output};
use crate::client::{Client, told};
use crate::output::note;
use crate::terminal;

/// How long a container that Ctrl-C stops may take.
const GRACE: i64 = 10;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// The output has, with this exit status if one came.
    Ended(Option<i32>),
    /// The user left by the keys, and the container goes on.
    Left,
}

/// What a session passes on.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// Raw keys, and the terminal's size.
    pub(super) tty: bool,
    /// Standard input.
    pub(super) stdin: bool,
    /// The pod that Ctrl-C stops; None lets the signal end the command line.
    pub(super) stops: Option<String>,
}

impl Session {
    /// Runs a process; its exit status.
    pub(super) async fn exec(self, client: &mut Client, start: api::ExecStart) -> anyhow::Result<i32> {
        let signals = Signals::of(self.stops.clone())?;
        let (sender, inputs) = channel(input::Input::Start(start));
        let outputs = client.exec(inputs).await.map_err(told)?.into_inner();
        match self.run(client.clone(), sender, outputs, signals, false).await? {
            Leave::Ended(Some(code)) => Ok(code),
            Leave::Ended(None) | Leave::Left => bail!("the daemon did not report the exit status"),
        }
    }

    /// Joins a container until its output ends, or Ctrl-P and Ctrl-Q are typed on a terminal.
    pub(super) async fn attach(self, client: &mut Client, join: api::AttachStart) -> anyhow::Result<Leave> {
        // Before the container starts: from then on Ctrl-C is to stop it, and not only this program.
        let signals = Signals::of(self.stops.clone())?;
        let (sender, inputs) = channel(input::Input::Join(join));
        let outputs = client.attach(inputs).await.map_err(told)?.into_inner();
        self.run(client.clone(), sender, outputs, signals, true).await
    }

    async fn run(
        self,
        client: Client,
        sender: mpsc::Sender<api::Input>,
        mut outputs: Streaming<api::Output>,
        signals: Signals,
        leaves: bool,
    ) -> anyhow::Result<Leave> {
        // Without standard input no keys are passed on, and Ctrl-C must stay a signal to this program.
        let _raw = if self.tty && self.stdin { terminal::Raw::set()? } else { None };
        let leaves = leaves && self.tty;
        let mut feed = if self.stdin { Some(tokio::spawn(keys(sender.clone(), leaves))) } else { None };
        let signals = tokio::spawn(self.signals(client, sender, signals));
        let left = async {
            let typed = match &mut feed {
                Some(feed) => feed.await.unwrap_or(false),
                None => false,
            };
            if !typed {
                std::future::pending().await
            }
        };
        let result = tokio::select! {
            result = show(&mut outputs) => result.map(Leave::Ended),
            () = left => Ok(Leave::Left),
        };
        signals.abort();
        if let Some(feed) = feed {
            feed.abort();
        }
        result
    }

    /// The terminal's changes of size, and Ctrl-C: the first stops the pod, the second kills it.
    async fn signals(
        self,
        client: Client,
        sender: mpsc::Sender<api::Input>,
        signals: Signals,
    ) -> anyhow::Result<()> {
        let Signals { mut resized, mut interrupts } = signals;
        let mut grace = GRACE;
        loop {
            tokio::select! {
                _ = resized.recv() => {
                    if let (true, Some(size)) = (self.tty, terminal::size()) {
                        sender.send(message(input::Input::Resize(size))).await?;
                    }
                }
                pod = interrupts.next() => {
                    if grace > 0 && std::io::stderr().is_terminal() {
                        note("berth: stopping; press Ctrl-C again to kill");
                    }
                    let mut client = client.clone();
                    let request = api::StopRequest { targets: vec![pod], grace_seconds: grace };
                    tokio::spawn(async move { client.stop(request).await });
                    grace = 0;
                }
            }
        }
    }
}

/// The signals from here on.
struct Signals {
    resized: Signal,
    interrupts: Interrupts,
}

impl Signals {
    fn of(stops: Option<String>) -> anyhow::Result<Self> {
        let interrupts = Interrupts::of(stops).context("listen for signals")?;
        Ok(Self { resized: signal(SignalKind::window_change())?, interrupts })
    }
}

/// Ctrl-C and SIGTERM, when they are to stop a pod; otherwise they end the command line as usual.
enum Interrupts {
    Stop { pod: String, interrupt: Signal, terminate: Signal },
    Default,
}

impl Interrupts {
    fn of(pod: Option<String>) -> std::io::Result<Self> {
        Ok(match pod {
            Some(pod) => Self::Stop {
                pod,
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            },
            None => Self::Default,
        })
    }

    async fn next(&mut self) -> String {
        match self {
            Self::Default => std::future::pending().await,
            Self::Stop { pod, interrupt, terminate } => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                pod.clone()
            }
        }
    }
}

fn message(input: input::Input) -> api::Input {
    api::Input { input: Some(input) }
}

fn channel(first: input::Input) -> (mpsc::Sender<api::Input>, ReceiverStream<api::Input>) {
    let (sender, receiver) = mpsc::channel(16);
    sender.try_send(message(first)).expect("a fresh queue has room");
    (sender, ReceiverStream::new(receiver))
}

/// Standard input to the container, to its end. True when the keys were typed that leave it, where there are such.
async fn keys(sender: mpsc::Sender<api::Input>, leaves: bool) -> bool {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 8 << 10];
    let mut keys = keys::Keys::default();
    loop {
        let (next, left) = match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => (input::Input::End(true), false),
            Ok(read) if leaves => {
                let (passed, left) = keys.take(&buffer[..read]);
                (input::Input::Stdin(passed), left)
            }
            Ok(read) => (input::Input::Stdin(buffer[..read].to_vec()), false),
        };
        let over = matches!(next, input::Input::End(_));
        if sender.send(message(next)).await.is_err() || over || left {
            return left;
        }
    }
}

/// The container's output, each stream to its own. The exit status, if one came.
async fn show(outputs: &mut Streaming<api::Output>) -> anyhow::Result<Option<i32>> {
    while let Some(output) = outputs.message().await.map_err(told)? {
        match output.output {
            Some(output::Output::Stdout(bytes)) => write(std::io::stdout(), &bytes)?,
            Some(output::Output::Stderr(bytes)) => write(std::io::stderr(), &bytes)?,
            Some(output::Output::ExitCode(code)) => return Ok(Some(code)),
            None => {}
        }
    }
    Ok(None)
}

fn write(mut to: impl Write, bytes: &[u8]) -> anyhow::Result<()> {
    to.write_all(bytes).and_then(|()| to.flush()).context("write output")
}
