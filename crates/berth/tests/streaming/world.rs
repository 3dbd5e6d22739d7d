//! A pod with a container, and clients of the streaming server.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use berth_cri::api::{self, NamespaceMode};

use crate::client::{self, Outcome, Way};
use crate::cri::{self, Cri};
use crate::home::{BUSYBOX, Call, Home};

/// Ends when it is asked to, so that nothing waits for the grace.
const IDLE: &str = "trap exit TERM; while :; do sleep 1000 & wait; done";

pub struct World {
    pub home: Home,
    pub cri: Cri,
    pub config: api::PodSandboxConfig,
    pub pod: String,
    /// It does nothing.
    pub container: String,
    /// Whether the test itself holds the pod's network namespace, by a socket.
    holds_network: std::cell::Cell<bool>,
}

impl World {
    pub fn start() -> Self {
        Self::with(NamespaceMode::Pod, &[])
    }

    /// With the network of the host or its own, and more arguments of the daemon.
    pub fn with(network: NamespaceMode, arguments: &[&str]) -> Self {
        let home = Home::start_with(crate::home::program(), arguments);
        home.berth(&["pull", "-q", BUSYBOX]).fine();
        let cri = Cri::connect(&home.daemon.socket()).unwrap();
        let config = cri::pod("box", &home.dir.path().join("logs"), network, NamespaceMode::Container);
        std::fs::create_dir_all(&config.log_directory).unwrap();
        let pod = cri.run(&config).unwrap();
        let world = Self { home, cri, config, pod, container: String::new(), holds_network: false.into() };
        let container = world.run("idle", IDLE, |_| ());
        Self { container, ..world }
    }

    /// A further container of the pod that runs a shell line.
    pub fn run(&self, name: &str, line: &str, change: impl FnOnce(&mut api::ContainerConfig)) -> String {
        let mut container = cri::shell(name, &self.config, line);
        change(&mut container);
        let id = self.cri.create(&self.pod, &self.config, container).unwrap();
        self.cri.start(&id).unwrap();
        id
    }

    pub fn log(&self, name: &str) -> PathBuf {
        PathBuf::from(&self.config.log_directory).join(format!("{name}.log"))
    }

    /// The Go client, in this way.
    pub fn client(&self, way: Way, arguments: &[&str]) -> Command {
        let mut command = Command::new(client::program());
        command.arg("-socket").arg(self.home.daemon.socket()).args(["-transport", way.0, "-versions", way.1]);
        command.args(["-sandbox", &self.pod]).args(arguments).stdin(Stdio::null());
        command
    }

    /// A command in the container that does nothing; flags of the client come before `exec`.
    pub fn exec(&self, way: Way, arguments: &[&str]) -> Call {
        Call::spawn(self.client(way, &[&["-container", &self.container], arguments].concat()))
    }

    /// The outcome of a shell line, with its output as text.
    #[track_caller]
    pub fn shell(&self, way: Way, flags: &[&str], line: &str) -> Outcome {
        Outcome::one(self.exec(way, &[&["-echo"], flags, &["exec", "sh", "-c", line]].concat()))
    }

    /// What is listening on a port of the pod's network is served by this.
    pub fn listen(&self, address: SocketAddr) -> std::net::TcpListener {
        let netns = self.home.daemon.dir().join("state/pods").join(&self.pod).join("netns");
        let inside = move || {
            if let Ok(netns) = std::fs::File::open(netns) {
                rustix::thread::move_into_link_name_space(netns.as_fd(), None).unwrap();
            }
            std::net::TcpListener::bind(address).unwrap()
        };
        self.holds_network.set(true);
        std::thread::spawn(inside).join().unwrap()
    }

    /// Whether processes with this argument run in the container.
    pub fn runs(&self, argument: &str) -> bool {
        // The pattern does not match itself in the command lines of those that look.
        let (first, rest) = argument.split_at(1);
        let line = format!("grep -l '[{first}]{rest}' /proc/[0-9]*/cmdline | wc -l");
        let found = self.cri.exec(&self.container, &["sh", "-c", &line]).unwrap();
        found.trim() != "0"
    }

    pub fn end(self) {
        // Of a task it would end nothing but the task.
        assert!(!self.home.daemon.log().contains("panicked"), "{}", self.home.daemon.log());
        self.cri.stop_pod(&self.pod).unwrap();
        self.cri.remove_pod(&self.pod).unwrap();
        if !self.holds_network.get() {
            self.home.clean();
        }
    }
}
