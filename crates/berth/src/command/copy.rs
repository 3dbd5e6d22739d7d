//! `berth cp`: files between this machine and a running container, by the container's own tar, as kubectl does it.

use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::{self, input, output};
use crate::client::{Client, Reach, told};

/// The most that a failing tar says.
const MAX_WORDS: usize = 4096;
/// Bytes sent at a time.
const CHUNK: usize = 32 << 10;

/// `berth cp`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  berth cp web:/etc/nginx/nginx.conf .    a file out of a container
  berth cp site/ web:/usr/share/nginx     a directory into it
  berth cp shared/writer:/data/log log    of one of several containers

The container runs, and has a program tar.")]
pub(crate) struct Cp {
    /// PATH, or CONTAINER:PATH
    source: String,
    /// PATH, or CONTAINER:PATH; a directory that exists gets the source's name in it
    target: String,
}

/// A place of the command line.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Here(&'a Path),
    Inside { container: &'a str, path: &'a str },
}

/// What begins with `/` or `.` is here, whatever follows.
fn place(text: &str) -> Place<'_> {
    match text.split_once(':') {
        Some((container, path)) if !container.is_empty() && !text.starts_with(['/', '.']) => {
            Place::Inside { container, path: if path.is_empty() { "/" } else { path } }
        }
        _ => Place::Here(Path::new(text)),
    }
}

impl Cp {
    /// Copies.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let (source, target) = (place(&self.source), place(&self.target));
        let mut client = reach.client().await?;
        match (source, target) {
            (Place::Inside { container, path }, Place::Here(to)) => {
                out(&mut client, container, path, to).await?
            }
            (Place::Here(from), Place::Inside { container, path }) => {
                into(&mut client, from, container, path).await?;
            }
            _ => bail!("one of the two must be CONTAINER:PATH, and the other a path of this machine"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The name of the last part of a path, and the path before it.
fn parts(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((dir, name)) => (dir, name),
        None => (".", path),
    }
}

/// Out of a container.
async fn out(client: &mut Client, container: &str, path: &str, to: &Path) -> anyhow::Result<()> {
    let (dir, name) = parts(path);
    let named = if matches!(name, "" | "." | "..") { "." } else { name };
    let inside = if named == "." { path } else { dir };
    let argv = ["tar", "-c", "-f", "-", "-C", inside, "--", named];
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(16);
    let to = to.to_owned();
    let named = named.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || unpack(Pipe::new(receiver), &named, &to));
    let ended = run(client, container, &argv, None, Some(sender)).await;
    let unpacked = unpacked.await.context("unpack")?;
    ended?;
    unpacked
}

/// Unpacks what is below `name` to `to`; nothing is written outside of it.
fn unpack(from: impl Read, name: &str, to: &Path) -> anyhow::Result<()> {
    let target = if to.is_dir() && name != "." { to.join(name) } else { to.to_owned() };
    let mut archive = tar::Archive::new(from);
    let reading = "read the container's archive";
    // Whether the source is a directory, below which entries may be.
    let mut dir = None;
    for entry in archive.entries().context(reading)? {
        let mut entry = entry.context(reading)?;
        let below = below(&entry.path().context(reading)?, name)?;
        let at = target.join(&below);
        let written = if below.as_os_str().is_empty() {
            let kind = entry.header().entry_type();
            // What was made for the first must not be followed by the second.
            if dir.is_some() || kind.is_hard_link() {
                bail!("the container's archive has {name} as a link, or twice");
            }
            dir = Some(kind.is_dir());
            if kind.is_dir() { make_dir(&target) } else { entry.unpack(&target).map(drop) }
        } else if dir != Some(true) {
            bail!("the container's archive has {} in what is no directory", below.display());
        } else {
            add(&mut entry, name, &target, &below)
        };
        written.with_context(|| format!("write {}", at.display()))?;
    }
    if dir.is_some() { Ok(()) } else { bail!("the container's tar gave nothing") }
}

/// An entry's path below the source.
fn below(path: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let below = path.strip_prefix(name).or_else(|_| path.strip_prefix(".")).unwrap_or(path);
    if below.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Ok(below.components().filter(|part| *part != Component::CurDir).collect());
    }
    bail!("the container's archive has the path {}, which leads out of it", path.display())
}

fn make_dir(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir(path).or_else(|e| if path.is_dir() { Ok(()) } else { Err(e) })
}

/// Adds an entry below the source.
fn add(entry: &mut tar::Entry<'_, impl Read>, name: &str, target: &Path, path: &Path) -> std::io::Result<()> {
    let at = without_links(target, path)?;
    if !entry.header().entry_type().is_hard_link() {
        return entry.unpack(&at).map(drop);
    }
    let first = entry.link_name()?.ok_or_else(|| std::io::Error::other("a link to nothing"))?;
    let first = below(&first, name).map_err(std::io::Error::other)?;
    std::fs::hard_link(without_links(target, &first)?, at)
}

/// A path below `target`: every directory on the way is one, and no link that an entry before made.
fn without_links(target: &Path, path: &Path) -> std::io::Result<PathBuf> {
    let mut at = target.to_owned();
    for part in path.parent().unwrap_or(Path::new("")).components() {
        at.push(part);
        if !std::fs::symlink_metadata(&at)?.is_dir() {
            return Err(std::io::Error::other("a link is in the way"));
        }
    }
    Ok(target.join(path))
}

/// Into a container.
async fn into(client: &mut Client, from: &Path, container: &str, path: &str) -> anyhow::Result<()> {
    std::fs::symlink_metadata(from).with_context(|| format!("look at {}", from.display()))?;
    // A directory gets the source's name in it, another path is the new name.
    let is_dir = run(client, container, &["test", "-d", path], None, None).await.is_ok();
    let (dir, name) = parts(path);
    let own = from.file_name().map(|name| name.to_string_lossy().into_owned());
    let (inside, name) = match (is_dir, own) {
        (true, Some(own)) => (path, own),
        (true, None) => (path, ".".to_owned()),
        (false, _) if path.ends_with('/') => bail!("{path} is not a directory in {container}"),
        (false, _) => (dir, name.to_owned()),
    };
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(16);
    let from = from.to_owned();
    let packed =
        tokio::task::spawn_blocking(move || pack(Pour { to: sender, buffer: Vec::new() }, &from, &name));
    let argv = ["tar", "-x", "-f", "-", "-C", inside];
    let ended = run(client, container, &argv, Some(receiver), None).await;
    let packed = packed.await.context("pack")?;
    ended?;
    packed
}

fn pack(to: Pour, from: &Path, name: &str) -> anyhow::Result<()> {
    let mut archive = tar::Builder::new(to);
    archive.follow_symlinks(false);
    let added = if std::fs::metadata(from).is_ok_and(|of| of.is_dir()) {
        archive.append_dir_all(name, from)
    } else {
        archive.append_path_with_name(from, name)
    };
    added.with_context(|| format!("read {}", from.display()))?;
    archive.into_inner().and_then(|mut to| to.flush()).context("send the archive")
}

/// Runs a program in the container, with bytes to its input or from its output.
async fn run(
    client: &mut Client,
    container: &str,
    argv: &[&str],
    mut stdin: Option<mpsc::Receiver<Vec<u8>>>,
    stdout: Option<mpsc::Sender<Vec<u8>>>,
) -> anyhow::Result<()> {
    let (sender, inputs) = mpsc::channel(16);
    let start = api::ExecStart {
        container: container.to_owned(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        stdin: stdin.is_some(),
        ..api::ExecStart::default()
    };
    let message = |input| api::Input { input: Some(input) };
    sender.try_send(message(input::Input::Start(start))).expect("a fresh queue has room");
    let mut outputs = client.exec(ReceiverStream::new(inputs)).await.map_err(told)?.into_inner();
    let feed = tokio::spawn(async move {
        while let Some(stdin) = &mut stdin {
            let next = stdin.recv().await.map_or(input::Input::End(true), input::Input::Stdin);
            let over = matches!(next, input::Input::End(_));
            if sender.send(message(next)).await.is_err() || over {
                break;
            }
        }
        // The stream stays open until the process has ended.
        sender.closed().await;
    });
    let (mut words, mut code) = (Vec::new(), None);
    while let Some(output) = outputs.message().await.map_err(told)? {
        match output.output {
            Some(output::Output::Stdout(bytes)) => {
                // What cannot be unpacked is told by the one that unpacks, and no more of it is needed.
                if let Some(stdout) = &stdout
                    && stdout.send(bytes).await.is_err()
                {
                    feed.abort();
                    return Ok(());
                }
            }
            Some(output::Output::Stderr(bytes)) => {
                words.extend(bytes.iter().take(MAX_WORDS.saturating_sub(words.len())));
            }
            Some(output::Output::ExitCode(ended)) => code = Some(ended),
            None => {}
        }
    }
    feed.abort();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    match code {
        Some(0) => Ok(()),
        Some(126 | 127) => {
            bail!(
                "{container}: {words} (hint: cp needs a program tar in the container; without one, mount a directory by -v)"
            )
        }
        Some(_) => bail!("{container}: {words}"),
        None => bail!("{container}: the daemon did not report the exit status"),
    }
}

/// Bytes that come, as a file.
struct Pipe {
    from: mpsc::Receiver<Vec<u8>>,
    left: std::io::Cursor<Vec<u8>>,
}

impl Pipe {
    fn new(from: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { from, left: std::io::Cursor::default() }
    }
}

impl Read for Pipe {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let read = self.left.read(to)?;
            if read > 0 || to.is_empty() {
                return Ok(read);
            }
            match self.from.blocking_recv() {
                Some(bytes) => self.left = std::io::Cursor::new(bytes),
                None => return Ok(0),
            }
        }
    }
}

/// A file whose bytes are sent.
struct Pour {
    to: mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Write for Pour {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        if bytes.is_empty() { Ok(()) } else { self.to.blocking_send(bytes).map_err(gone) }
    }
}

#[cfg(test)]
mod tests;
