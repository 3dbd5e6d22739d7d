//! `berth run`: one container in a pod of its own. It is a pod manifest like any other, made from
//! flags that docker's and podman's users know.

mod flags;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::stream::{Leave, Session};
use super::{exit_code, play};
use crate::api;
use crate::client::{Client, Lost, Reach, told};
use crate::credentials::Reader;
use crate::output::pull::Pulls;
use crate::output::{line, note};
use crate::terminal;

pub(crate) use flags::{Pull as PullWhen, Run};

/// The file of `--cidfile`; one that got no id is removed again.
struct Cidfile<'a> {
    path: &'a Path,
    file: File,
    written: bool,
}

impl<'a> Cidfile<'a> {
    fn make(path: &'a Path) -> anyhow::Result<Self> {
        let file = File::create_new(path).with_context(|| format!("--cidfile {}", path.display()))?;
        Ok(Self { path, file, written: false })
    }

    fn write(&mut self, id: &str) -> anyhow::Result<()> {
        self.file.write_all(id.as_bytes()).with_context(|| format!("write {}", self.path.display()))?;
        self.written = true;
        Ok(())
    }
}

impl Drop for Cidfile<'_> {
    fn drop(&mut self) {
        if !self.written {
            std::fs::remove_file(self.path).ok();
        }
    }
}

impl Run {
    /// Runs the container: in the background, or until it ends.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        terminal::demand(self.tty && !self.detach, self.interactive)?;
        let (mut client, container) = self.make(&reach, false).await?;
        if self.detach {
            line(&container.id)?;
            return Ok(ExitCode::SUCCESS);
        }
        let stdin = self.interactive;
        Foreground { container, tty: self.tty, stdin, remove: self.remove, ours: true }.run(&mut client).await
    }

    /// Makes the container: started, held for this client, or to wait for `berth start`.
    pub(super) async fn make(&self, reach: &Reach, waits: bool) -> anyhow::Result<(Client, api::Container)> {
        let name = self.pod_name()?;
        let manifest = self.manifest(&name)?.to_string().into_bytes();
        let mut cidfile = self.cidfile.as_deref().map(Cidfile::make).transpose()?;
        let mut client = reach.client().await?;
        let auths = Reader::of(reach).manifest(&manifest).await;
        let request = api::PlayRequest {
            auths,
            manifest,
            files: Vec::new(),
            replace: self.replace,
            hold: if self.detach { String::new() } else { name.clone() },
            waits,
            remove: self.remove,
            pull: self.pull.map_or("missing", PullWhen::word).to_owned(),
        };
        let mut made = None;
        let mut pulls = Pulls::new(self.quiet);
        let mut events = client.play(request).await.map_err(told)?.into_inner();
        while let Some(event) = events.message().await.map_err(told)? {
            match event.event {
                Some(api::play_event::Event::Pull(pull)) => pulls.show(&pull),
                Some(api::play_event::Event::Container(container)) => made = Some(container),
                Some(api::play_event::Event::Note(text)) => note(text),
                Some(api::play_event::Event::Pod(_)) | None => {}
            }
        }
        let container = made.context("the daemon created no container")?;
        cidfile.as_mut().map_or(Ok(()), |file| file.write(&container.id))?;
        Ok((client, container))
    }
}

/// A container that was made and waits for this client.
pub(super) struct Foreground {
    pub(super) container: api::Container,
    pub(super) tty: bool,
    pub(super) stdin: bool,
    /// Whether its pod is removed when it has ended.
    pub(super) remove: bool,
    /// Whether this call made it, so that it goes when it cannot be joined.
    pub(super) ours: bool,
}

impl Foreground {
    /// Starts it, and stays with it until it ends.
    pub(super) async fn run(self, client: &mut Client) -> anyhow::Result<ExitCode> {
        let container = &self.container;
        let join = api::AttachStart {
            container: container.id.clone(),
            release: true,
            size: terminal::size(),
            stdin: self.stdin,
        };
        let session = Session { tty: self.tty, stdin: self.stdin, stops: Some(container.pod_id.clone()) };
        let ended = session.attach(client, join).await;
        if let Ok(Leave::Left) = ended {
            note(format_args!(
                "berth: {name} goes on; berth attach {name} joins it again",
                name = container.name
            ));
            return Ok(ExitCode::SUCCESS);
        }
        if let Err(error) = ended {
            if error.downcast_ref::<Lost>().is_some() {
                // Pods outlive daemons: this one keeps running.
                return Err(error.context(format!("the container keeps running as {}", container.name)));
            }
            // Its output would be lost: a container that could not be joined is not left waiting.
            if self.ours
                && let Err(more) = play::down(client, std::slice::from_ref(&container.pod_id), 0).await
            {
                note(format_args!("berth: failed to remove {}: {more:#}", container.name));
            }
            return Err(error);
        }
        let waited = client.wait(api::WaitRequest { container: container.id.clone() }).await;
        if self.remove {
            play::down(client, std::slice::from_ref(&container.pod_id), 0).await?;
        }
        let end = waited.map_err(told)?.into_inner();
        if !end.message.is_empty() {
            note(format_args!("berth: {}", end.message));
        } else if end.reason == "OOMKilled" {
            note("berth: killed: out of memory (the container reached its memory limit)");
        }
        Ok(exit_code(end.exit_code))
    }
}
