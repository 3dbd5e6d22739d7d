//! `berth artifact extract`: the files of an artifact as files here.
//!
//! Their names come from whoever pushed the artifact, and the directory may be one that others write to: nothing is followed
//! below it, and a file appears under its name only when it is complete.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::look;
use crate::api;
use crate::client::{Client, Reach, told};
use crate::output::line;

/// `berth artifact extract`
#[derive(Debug, clap::Args)]
pub(super) struct Extract {
    /// Only the file with this digest
    #[arg(long, value_name = "DIGEST", conflicts_with = "title")]
    digest: Option<String>,
    /// Only the file with this name
    #[arg(long, value_name = "NAME")]
    title: Option<String>,
    /// An artifact, by name, digest or id
    artifact: String,
    /// A directory that there is, or for one file alone its new name; - is standard output
    path: PathBuf,
}

impl Extract {
    pub(super) async fn run(self, reach: &Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let artifact = look(&mut client, &self.artifact).await.map_err(told)?;
        let id = artifact.image.unwrap_or_default().id;
        let wanted: Vec<_> = artifact.files.iter().enumerate().filter(|(_, file)| self.takes(file)).collect();
        if wanted.is_empty() {
            let names: Vec<_> = artifact.files.iter().map(|file| file.path.as_str()).collect();
            bail!("{}: no file is meant (hint: it has {})", self.artifact, names.join(", "));
        }
        if self.path.is_dir() {
            let target = Target::open(&self.path)?;
            for (index, file) in wanted {
                target.write(&mut client, &id, index, Path::new(&file.path)).await?;
                line(self.path.join(&file.path).display())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let [(index, _)] = wanted[..] else {
            bail!(
                "{}: it has {} files, and {} is no directory (hint: make it, or choose one file by --title)",
                self.artifact,
                wanted.len(),
                self.path.display()
            );
        };
        if self.path == Path::new("-") {
            copy(&mut client, &id, index, &mut std::io::stdout()).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let name =
            self.path.file_name().with_context(|| format!("{}: it names no file", self.path.display()))?;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Target::open(dir)?.write(&mut client, &id, index, Path::new(name)).await?;
        Ok(ExitCode::SUCCESS)
    }

    fn takes(&self, file: &api::ArtifactEntry) -> bool {
        let digest = |wanted: &String| file.digest == *wanted || file.digest == format!("sha256:{wanted}");
        self.digest.as_ref().is_none_or(digest) && self.title.as_ref().is_none_or(|title| *title == file.path)
    }
}

/// Sends a file's content to `out`.
async fn copy(
    client: &mut Client,
    id: &str,
    index: usize,
    out: &mut impl std::io::Write,
) -> anyhow::Result<()> {
    let request = api::ArtifactFileRequest { id: id.to_owned(), index: u32::try_from(index)? };
    let mut pieces = client.artifact_file(request).await.map_err(told)?.into_inner();
    while let Some(piece) = pieces.message().await.map_err(told)? {
        out.write_all(&piece.data).context("write output")?;
    }
    out.flush().context("write output")
}

/// The directory that files are written into.
struct Target {
    dir: OwnedFd,
    path: PathBuf,
}

impl Target {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty());
        let dir = dir.with_context(|| format!("open directory {}", path.display()))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    async fn write(&self, client: &mut Client, id: &str, index: usize, file: &Path) -> anyhow::Result<()> {
        let at = || format!("write {}", self.path.join(file).display());
        let name = file.file_name().with_context(at)?;
        let dir = below(&self.dir, file.parent().unwrap_or(Path::new(""))).with_context(at)?;
        let mut partial = OsStr::new(".").to_owned();
        partial.push(format!("berth-{}-{index}.partial", std::process::id()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&dir, &partial, flags, Mode::from_raw_mode(0o666));
        let mut out = File::from(opened.with_context(at)?);
        let written = copy(client, id, index, &mut out).await.with_context(at);
        let placed = written.and_then(|()| rustix::fs::renameat(&dir, &partial, &dir, name).with_context(at));
        if placed.is_err() {
            // If it cannot be removed, its name says that it is partial.
            rustix::fs::unlinkat(&dir, &partial, AtFlags::empty()).ok();
        }
        placed
    }
}

/// The directory at this path below another, which is made where it is missing.
fn below(dir: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut at = rustix::fs::openat2(dir, ".", flags, Mode::empty(), resolve)?;
    for part in path.components() {
        match rustix::fs::mkdirat(&at, part.as_os_str(), Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        at = rustix::fs::openat2(&at, part.as_os_str(), flags, Mode::empty(), resolve)?;
    }
    Ok(at)
}
