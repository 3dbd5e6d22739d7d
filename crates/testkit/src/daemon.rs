//! A `berth serve` of a test's own: its own root, state, socket and instance, ended and purged
//! when it is dropped.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::guard::wait_until;
use crate::image::standin;
use crate::{Error, Registry, Result, cni};

/// How long a daemon may take until its socket answers, or until it has ended.
const LIMIT: Duration = Duration::from_secs(30);

/// A daemon in the making.
#[derive(Debug)]
pub struct Builder {
    program: PathBuf,
    dir: tempfile::TempDir,
    instance: String,
    network: Vec<String>,
    arguments: Vec<String>,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    dir: tempfile::TempDir,
    instance: String,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Builder {
    /// Asks `registry` for the images of the usual hosts.
    pub fn mirrors(self, registry: &Registry) -> Result<Self> {
        let dir = self.dir.path().join("certs.d");
        registry.write_mirrors(&dir, &standin::HOSTS)?;
        Ok(self.arguments(["--certs-dir".to_owned(), dir.display().to_string()]))
    }

    /// Adds arguments of `berth serve`.
    #[must_use]
    pub fn arguments<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The network of its pods is made by CNI plugins.
    #[must_use]
    pub fn cni(self, network: &cni::Network) -> Self {
        Self { network: network.arguments().into(), ..self }
    }

    /// Starts it and waits until its socket answers.
    pub fn start(self) -> Result<Daemon> {
        let Self { program, dir, instance, network, arguments } = self;
        let arguments = [network, arguments].concat();
        let mut daemon = Daemon { program, dir, instance, arguments, child: None };
        daemon.start()?;
        Ok(daemon)
    }
}

impl Daemon {
    /// A daemon of this program with the built-in network for its pods.
    pub fn builder(program: &Path) -> Result<Builder> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        // Short, since names of links are made from it.
        let instance = format!("t{:x}{serial:x}", std::process::id() & 0xffff);
        let dir = tempfile::Builder::new().prefix("berth-").tempdir();
        let dir = dir.map_err(Error::io("make a directory for the daemon"))?;
        let network = ["--network", "builtin"].map(str::to_owned).into();
        Ok(Builder { program: program.to_owned(), dir, instance, network, arguments: Vec::new() })
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("berth.sock")
    }

    /// The socket as CRI clients name it.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The instance's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Where everything of it is: `root`, `state`, the socket, `log`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The pid, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A call of the command line against this daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove("BERTH_INSTANCE").env("BERTH_HOST", self.endpoint());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// From its next start on it is this program: an upgrade, or a step back.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// Starts it, when it does not run, and waits until its socket answers.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        let socket = self.socket();
        let mut ended = None;
        let answers = wait_until(LIMIT, || {
            ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            ended.is_some() || UnixStream::connect(&socket).is_ok()
        });
        match ended {
            None if answers => Ok(()),
            None => Err(Error::Other(format!("the daemon did not answer within {LIMIT:?}:\n{}", self.log()))),
            Some(status) => {
                self.child = None;
                Err(Error::Other(format!("the daemon ended with {status}:\n{}", self.log())))
            }
        }
    }

    /// Starts it, when it does not run, without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log"));
        let log = log.map_err(Error::io("open the daemon's log"))?;
        let copy = log.try_clone().map_err(Error::io("open the daemon's log"))?;
        let child = self
            .program()
            .arg("serve")
            .args(self.place())
            .args(["--listen", &self.endpoint()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(copy)
            .stderr(log)
            .spawn()
            .map_err(Error::io(format!("run {}", self.program.display())))?;
        self.child = Some(child);
        Ok(())
    }

    /// Ends it as an upgrade does: pods keep running.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::TERM)
    }

    /// Ends it as a crash does: pods keep running.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL)
    }

    /// Removes everything of the instance: pods, images, networks, files.
    pub fn purge(&mut self) -> Result<()> {
        self.stop()?;
        let output = self.program().args(["purge", "--yes"]).args(self.place()).stdin(Stdio::null()).output();
        let output = output.map_err(Error::io(format!("run {} purge", self.program.display())))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Other(format!("berth purge ended with {}: {text}", output.status)))
    }

    /// The program, whatever daemon the environment names.
    fn program(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove("BERTH_HOST").env_remove("BERTH_INSTANCE");
        command
    }

    fn place(&self) -> [String; 6] {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let flag = str::to_owned;
        [
            flag("--instance"),
            self.instance.clone(),
            flag("--root"),
            path("root"),
            flag("--state"),
            path("state"),
        ]
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            rustix::process::kill_process(pid, signal).ok();
        }
        if wait_until(LIMIT, || child.try_wait().ok().flatten().is_some()) {
            return Ok(());
        }
        child.kill().map_err(Error::io("kill the daemon"))?;
        child.wait().map_err(Error::io("wait for the daemon"))?;
        Err(Error::Other(format!("the daemon did not end within {LIMIT:?} after {signal:?}")))
    }
}

impl Drop for Daemon {
    #[allow(clippy::print_stderr, reason = "a destructor has no other way to say that it failed")]
    fn drop(&mut self) {
        if let Err(error) = self.purge() {
            eprintln!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_ends_at_once_is_an_error_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("berth");
        crate::executable::script(&program, "#!/bin/sh\n[ $1 = purge ] && exit 0\necho \"got $*\"\nexit 3\n");
        let started = Daemon::builder(&program).unwrap().arguments(["--metrics-address", "x"]).start();
        let error = started.unwrap_err().to_string();
        assert!(error.contains("ended with exit status: 3"), "{error}");
        assert!(error.contains("got serve --instance t"), "{error}");
        assert!(error.contains("--network builtin --metrics-address x"), "{error}");
    }

    #[test]
    fn instances_have_short_names_of_their_own() {
        let one = Daemon::builder(Path::new("/bin/true")).unwrap();
        let two = Daemon::builder(Path::new("/bin/true")).unwrap();
        assert_ne!(one.instance, two.instance);
        assert!(one.instance.len() <= 8, "{}", one.instance);
    }
}
