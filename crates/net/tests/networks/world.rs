//! Namespaces, and connections between them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use berth_net::{Attachment, Builtin, Config, PortMapping, Protocol};
use berth_types::SandboxId;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Longer than anything here takes on a busy machine.
const WAIT_LIMIT: Duration = Duration::from_secs(10);
/// Long enough to see that a packet was dropped (locally answered otherwise within microseconds).
const SILENCE: Duration = Duration::from_millis(700);

/// Returns from a test, with a line that says so, when it cannot run.
macro_rules! require_root {
    ($name:literal) => {
        if !rustix::process::getuid().is_root() {
            eprintln!("skipped: {}: needs root", $name);
            return;
        }
    };
}
pub(crate) use require_root;

/// A network namespace. It ends with the value.
#[derive(Debug)]
pub(crate) struct Ns(OwnedFd);

impl Ns {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            berth_sys::namespace::unshare(berth_sys::namespace::NET).unwrap();
            OwnedFd::from(std::fs::File::open("/proc/thread-self/ns/net").unwrap())
        });
        let ns = Self(made.join().unwrap());
        ns.sh("ip link set lo up");
        ns
    }

    /// A namespace with nothing set up, as a pod's is.
    pub(crate) fn pod() -> Self {
        let ns = Self::new();
        ns.sh("ip link set lo down");
        ns
    }

    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Runs `work` in a thread inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a shell command inside; gives what it printed.
    pub(crate) fn sh(&self, command: &str) -> String {
        let output = self.run(|| Command::new("sh").arg("-ec").arg(command).output().unwrap());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Whether a shell command succeeds inside.
    pub(crate) fn can(&self, command: &str) -> bool {
        let command = format!("{command} >/dev/null 2>&1");
        self.run(|| Command::new("sh").arg("-ec").arg(command).status().unwrap().success())
    }

    /// A server on all addresses of both families, which are those of the namespace at any time.
    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        self.run(|| TcpListener::bind(("::", port)).unwrap())
    }

    pub(crate) fn udp(&self, port: u16) -> UdpSocket {
        let socket = self.run(|| UdpSocket::bind(("::", port)).unwrap());
        socket.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        socket
    }

    /// Connects to `address`, sends a message, has it answered by `server`; gives the address that
    /// the server saw.
    pub(crate) fn talk(&self, address: (IpAddr, u16), server: &TcpListener) -> IpAddr {
        let address = SocketAddr::from(address);
        let connected = self.run(|| TcpStream::connect_timeout(&address, WAIT_LIMIT));
        let mut client = connected.unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        let (mut accepted, peer) = server.accept().unwrap();
        for stream in [&client, &accepted] {
            stream.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        }
        let mut word = [0; 4];
        client.write_all(b"ping").unwrap();
        accepted.read_exact(&mut word).unwrap();
        accepted.write_all(&word).unwrap();
        client.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"ping");
        peer.ip().to_canonical()
    }

    /// The same over UDP, from a socket that may be used again.
    pub(crate) fn talk_udp(&self, address: (IpAddr, u16), server: &UdpSocket) -> IpAddr {
        let client = self.udp(0);
        ask_udp(&client, address);
        let word = *b"pong";
        let peer = receive(server);
        server.send_to(&word, peer).unwrap();
        receive(&client);
        peer.ip().to_canonical()
    }

    /// Whether a connection comes about.
    pub(crate) fn connects(&self, address: (IpAddr, u16)) -> bool {
        self.run(|| TcpStream::connect_timeout(&SocketAddr::from(address), SILENCE)).is_ok()
    }
}

/// Sends a message to `address` from a socket of both families.
pub(crate) fn ask_udp(client: &UdpSocket, (ip, port): (IpAddr, u16)) {
    let ip = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    client.send_to(b"ping", (ip, port)).unwrap();
}

/// Waits for a message; gives where it came from.
pub(crate) fn receive(socket: &UdpSocket) -> SocketAddr {
    let mut word = [0; 4];
    loop {
        match socket.recv_from(&mut word) {
            // A process that is frozen and thawed in between has its wait interrupted.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.unwrap().1,
        }
    }
}

/// A host with a way out, and a machine there.
pub(crate) struct World {
    pub(crate) host: Ns,
    pub(crate) outside: Ns,
    dir: tempfile::TempDir,
}

pub(crate) const HOST4: &str = "192.0.2.1";
pub(crate) const HOST6: &str = "2001:db8::1";
pub(crate) const OUTSIDE4: &str = "192.0.2.2";
pub(crate) const OUTSIDE6: &str = "2001:db8::2";

impl World {
    pub(crate) fn new() -> Self {
        let (host, outside) = (Ns::new(), Ns::new());
        outside.run(|| {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&host.0);
            let pid = std::process::id();
            let command = format!(
                "ip link add up0 mtu 1400 type veth peer name up0 mtu 1400 netns /proc/{pid}/fd/{fd}
                 ip addr add {OUTSIDE4}/24 dev up0; ip addr add {OUTSIDE6}/64 dev up0 nodad; ip link set up0 up"
            );
            assert!(Command::new("sh").arg("-ec").arg(command).status().unwrap().success());
        });
        host.sh(&format!(
            "ip addr add {HOST4}/24 dev up0; ip addr add {HOST6}/64 dev up0 nodad; ip link set up0 up
             ip route add default via {OUTSIDE4}; ip route add default via {OUTSIDE6}"
        ));
        Self { host, outside, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> Config {
        Config::for_instance("", "machine", self.dir().join("default"))
    }

    pub(crate) fn open(&self) -> Builtin {
        self.open_with(self.config())
    }

    pub(crate) fn open_with(&self, config: Config) -> Builtin {
        self.host.run(|| Builtin::open(config).unwrap())
    }

    /// A pod with these host ports.
    pub(crate) fn pod(&self, net: &Builtin, id: u8, ports: &[PortMapping]) -> Pod {
        let ns = Ns::pod();
        let id = sandbox(id);
        let attachment = self.host.run(|| net.attach(&id, ns.fd(), ports).unwrap());
        Pod { ns, id, attachment }
    }
}

/// A pod and what it got.
pub(crate) struct Pod {
    pub(crate) ns: Ns,
    pub(crate) id: SandboxId,
    pub(crate) attachment: Attachment,
}

impl Pod {
    pub(crate) fn ip4(&self) -> IpAddr {
        self.attachment.addresses[0]
    }

    pub(crate) fn ip6(&self) -> IpAddr {
        self.attachment.addresses[1]
    }
}

pub(crate) fn sandbox(n: u8) -> SandboxId {
    SandboxId::from_random([n; 32])
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn tcp(host_port: u16, container_port: u16) -> PortMapping {
    PortMapping { protocol: Protocol::Tcp, host_ip: None, host_port, container_port }
}

pub(crate) fn udp(host_port: u16, container_port: u16) -> PortMapping {
    PortMapping { protocol: Protocol::Udp, ..tcp(host_port, container_port) }
}

/// Waits until `done`, looking every few milliseconds.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + WAIT_LIMIT;
    while !done() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
