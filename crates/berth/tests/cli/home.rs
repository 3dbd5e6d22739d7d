//! A daemon with a registry behind it, and calls of the command line with a deadline.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use berth_testkit::guard::{wait_for, wait_until};
use berth_testkit::image::standin;
use berth_testkit::{Daemon, Registry};
use serde_json::Value;

/// The longest that one call may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(90);
/// A shell and every applet, from the registry.
pub const BUSYBOX: &str = "docker.io/library/busybox:latest";
/// The image that Berth carries in itself.
pub const DEMO: &str = "berth.local/demo:latest";

/// The program under test.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_berth"))
}

/// The registry of all tests.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = Registry::start().unwrap();
        standin::publish_busybox(&registry).unwrap();
        registry
    })
}

/// What a call said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The standard output of a call that went well.
    #[track_caller]
    pub fn fine(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// The standard error of a call that failed with an error of Berth itself.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_eq!(self.code, 125, "{self:?}");
        self.err
    }

    pub fn json(self) -> Value {
        serde_json::from_str(&self.fine()).unwrap()
    }
}

/// A call that runs.
#[derive(Debug)]
pub struct Call {
    child: Child,
    what: String,
    out: Collected,
    err: Collected,
}

/// What a stream gave until now, and the thread that reads it to its end.
#[derive(Debug)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Call {
    pub fn spawn(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = Collected::of(child.stdout.take().unwrap());
        let err = Collected::of(child.stderr.take().unwrap());
        Self { child, what, out, err }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Whether this is on standard output by now.
    pub fn has(&self, text: &str) -> bool {
        self.out.now().contains(text)
    }

    /// Waits until this is on standard output.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let shown = wait_until(LIMIT, || self.has(text));
        assert!(shown, "{}: {text:?} was not shown: {}\n{}", self.what, self.out.now(), self.err.now());
    }

    /// Waits until this is on standard error.
    #[track_caller]
    pub fn complains(&self, text: &str) {
        let shown = wait_until(LIMIT, || self.err.now().contains(text));
        assert!(shown, "{}: {text:?} was not said: {}\n{}", self.what, self.out.now(), self.err.now());
    }

    /// Ends the call without a notice to it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[track_caller]
    pub fn end(mut self) -> Said {
        let status = wait_for(LIMIT, || self.child.try_wait().unwrap());
        if status.is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        let (out, err) = (self.out.all(), self.err.all());
        let Some(status) = status else { panic!("{} did not end: {out}\n{err}", self.what) };
        let code = status.code().unwrap_or_else(|| panic!("{}: {status}: {out}\n{err}", self.what));
        Said { code, out, err }
    }
}

impl Collected {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let to = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let read @ 1.. = from.read(&mut buffer).unwrap() {
                to.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self { bytes, reader }
    }

    fn now(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn all(self) -> String {
        self.reader.join().unwrap();
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}

/// A daemon of a test's own.
#[derive(Debug)]
pub struct Home {
    pub daemon: Daemon,
    pub dir: tempfile::TempDir,
}

impl Home {
    pub fn start() -> Self {
        Self::start_by(program())
    }

    /// With a program that runs the one under test.
    pub fn start_by(program: &Path) -> Self {
        Self::start_with(program, &[])
    }

    /// With more arguments of `berth serve`.
    pub fn start_with(program: &Path, arguments: &[&str]) -> Self {
        let more = || arguments.iter().map(|&argument| argument.to_owned());
        let start = || Daemon::builder(program)?.mirrors(registry())?.arguments(more()).start();
        // An instance's addresses follow from its name, and another test's network may have them.
        let daemon = (0..8).find_map(|_| match start() {
            Err(e) if e.to_string().contains("overlap") => None,
            other => Some(other.unwrap()),
        });
        Self { daemon: daemon.expect("all addresses are taken"), dir: tempfile::tempdir().unwrap() }
    }

    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = self.daemon.command(&[]);
        // A user without credentials.
        command.env("HOME", self.dir.path()).env_remove("DOCKER_CONFIG").env_remove("REGISTRY_AUTH_FILE");
        command.env_remove("XDG_RUNTIME_DIR").env_remove("XDG_CONFIG_HOME").current_dir(self.dir.path());
        command.args(arguments);
        command
    }

    pub fn spawn<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Call {
        Call::spawn(self.command(arguments))
    }

    #[track_caller]
    pub fn berth<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Said {
        self.spawn(arguments).end()
    }

    /// A call with this standard input.
    #[track_caller]
    pub fn feed<A: AsRef<OsStr>>(&self, arguments: &[A], input: &[u8]) -> Said {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut call = Call::spawn(command);
        let mut stdin = call.stdin();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let said = call.end();
        // A call that does not read to the end closes the pipe.
        writer.join().unwrap().ok();
        said
    }

    /// `berth run --rm` of a shell line in busybox, with more flags.
    #[track_caller]
    pub fn shell(&self, flags: &[&str], line: &str) -> Said {
        self.berth(&[&["run", "--rm", "-q"], flags, &[BUSYBOX, "sh", "-c", line]].concat())
    }

    /// All containers, those that ended too.
    pub fn containers(&self) -> Vec<Value> {
        self.berth(&["ps", "-a", "-o", "json"]).json().as_array().unwrap().clone()
    }

    /// Waits until the newest attempt of a container is in this state; the container.
    #[track_caller]
    pub fn wait_state(&self, pod: &str, name: &str, state: &str) -> Value {
        let mut last = Vec::new();
        let found = wait_for(LIMIT, || {
            last = self.containers();
            let of_name = last.iter().filter(|c| c["pod"] == pod && c["name"] == name);
            let newest = of_name.max_by_key(|c| c["attempt"].as_u64())?;
            (newest["state"] == state).then(|| newest.clone())
        });
        found.unwrap_or_else(|| panic!("{pod}/{name} did not become {state}: {last:?}"))
    }

    #[track_caller]
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Waits until nothing is left of pods, then asks the doctor.
    #[track_caller]
    pub fn clean(&self) {
        assert!(wait_until(LIMIT, || self.containers().is_empty()), "{:?}", self.containers());
        let doctor = self.berth(&["doctor"]);
        assert_eq!((doctor.code, doctor.out.as_str()), (0, "nothing is left behind\n"), "{doctor:?}");
    }
}

/// The body of a page, or why there is none.
pub fn fetch(address: &str) -> Result<String, String> {
    let said = |e: std::io::Error| format!("{address}: {e}");
    let mut stream = std::net::TcpStream::connect(address).map_err(said)?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(said)?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n").map_err(said)?;
    let mut page = String::new();
    stream.read_to_string(&mut page).map_err(said)?;
    Ok(page)
}

/// Waits until a page is served.
#[track_caller]
pub fn page(address: &str) -> String {
    let mut last = String::new();
    let found = wait_for(LIMIT, || match fetch(address) {
        Ok(page) if !page.is_empty() => Some(page),
        Ok(_) => None,
        Err(e) => {
            last = e;
            None
        }
    });
    found.unwrap_or_else(|| panic!("no page: {last}"))
}
