//! The server itself: URLs, addresses, TLS, idle time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use berth_cri::api::{self, NamespaceMode};
use berth_testkit::guard::has_program;
use berth_testkit::{require, require_root, wait_until};

use crate::client::{Outcome, SPDY, WEBSOCKET};
use crate::home::LIMIT;
use crate::world::World;

fn url(world: &World) -> String {
    let request = api::ExecRequest {
        container_id: world.container.clone(),
        cmd: vec!["true".into()],
        stdout: true,
        ..Default::default()
    };
    world.cri.call(async |mut client| client.exec(request).await).unwrap().url
}

fn parts(url: &str) -> (SocketAddr, String) {
    let rest = url.split_once("://").unwrap().1;
    let (address, path) = rest.split_once('/').unwrap();
    (address.parse().unwrap(), format!("/{path}"))
}

/// The first line of the answer to a request for an upgrade.
fn ask(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\n{headers}\r\n").unwrap();
    let mut answer = vec![0; 4096];
    let got = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..got]).lines().next().unwrap_or_default().to_owned()
}

const SPDY_V4: &str = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";

/// contract 50
#[test]
fn a_url_works_once_and_on_loopback_only() {
    require_root!();
    let world = World::start();
    let (address, path) = parts(&url(&world));
    assert!(address.ip().is_loopback(), "{address}");
    assert!(path.len() > 40, "{path}");
    assert_eq!(ask(address, &path, SPDY_V4), "HTTP/1.1 101 Switching Protocols");
    assert_eq!(ask(address, &path, SPDY_V4), "HTTP/1.1 404 Not Found");
    assert_eq!(ask(address, "/exec/AAAA", SPDY_V4), "HTTP/1.1 404 Not Found");
    // A request that cannot be answered uses the URL too.
    let (_, path) = parts(&url(&world));
    assert_eq!(ask(address, &path, "Upgrade: h2c\r\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(ask(address, &path, SPDY_V4), "HTTP/1.1 404 Not Found");
    assert!(!world.home.daemon.log().contains(path.trim_start_matches("/exec/")), "the log has a token");
    // A second server on the same port is refused by name, before it has made anything.
    let taken = world.home.command(&["--instance", "other-one", "serve", "--network", "none", "--root"]);
    let mut taken = taken;
    let (root, state) = (world.home.dir.path().join("r"), world.home.dir.path().join("s"));
    taken.arg(root).arg("--state").arg(state).args(["--stream-port", &address.port().to_string()]);
    let said = crate::home::Call::spawn(taken).end();
    assert_ne!(said.code, 0);
    assert!(said.err.contains(&format!("listen on {address} for streams")), "{}", said.err);
    world.end();
}

/// Any process of the machine may open connections and ask for nothing.
#[test]
fn connections_that_ask_for_nothing_keep_no_client_waiting() {
    require_root!();
    let world = World::start();
    let (address, path) = parts(&url(&world));
    let idle: Vec<TcpStream> = (0..266).map(|_| TcpStream::connect(address).unwrap()).collect();
    let is_open = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let mut stream = stream;
        stream.read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    };
    assert_eq!(ask(address, &path, SPDY_V4), "HTTP/1.1 101 Switching Protocols");
    // It did not wait until the others' time was over: there are places for 256, and the oldest have lost theirs.
    assert!(idle[11..].iter().all(is_open), "connections were closed for no other");
    assert!(wait_until(LIMIT, || !idle[..11].iter().any(is_open)), "more than 256 are open");
    world.end();
}

#[test]
fn streams_go_over_tls_where_it_is_set_up() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let tls = ["--stream-tls-cert", certificate.as_str(), "--stream-tls-key", key.as_str()];
    let world = World::with(NamespaceMode::Pod, &tls);
    assert!(url(&world).starts_with("https://127.0.0.1:"));
    let size = (20 << 20).to_string();
    for way in [SPDY, WEBSOCKET] {
        let said = world.shell(way, &["-stdin", "x"], "cat; exit 3");
        assert_eq!((said.code, said.stdout.as_str()), (3, "x"), "{way:?}: {said:?}");
        let said = Outcome::one(world.exec(way, &["exec", "head", "-c", &size, "/dev/zero"]));
        assert_eq!((said.code, said.bytes), (0, 20 << 20), "{way:?}: {said:?}");
    }
    world.end();
}

#[test]
fn a_connection_without_a_byte_is_closed_after_the_idle_time() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::with(NamespaceMode::Pod, &["--stream-idle-timeout", "4s"]);
    for way in [SPDY, WEBSOCKET] {
        let call = world.exec(way, &["-echo", "exec", "sh", "-c", "echo begun; exec sleep 7001"]);
        let said = Outcome::one(call);
        assert_eq!((said.code, said.stdout.as_str()), (-1, "begun\n"), "{way:?}: {said:?}");
        assert!(said.error.contains("nothing was sent or received for 4 s"), "{way:?}: {said:?}");
        assert!(wait_until(LIMIT, || !world.runs("7001")), "{way:?}: the command runs on");
        // One that says something now and then stays.
        let said = world.shell(way, &[], "for i in 1 2 3 4 5 6 7; do sleep 0.8; echo $i; done; exit 7");
        assert_eq!((said.code, said.bytes), (7, 14), "{way:?}: {said:?}");
    }
    world.end();
}

/// A client of SPDY takes a connection without an outcome for a command that ended well.
#[test]
fn a_daemon_that_ends_tells_its_clients() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let mut world = World::start();
    for way in [SPDY, WEBSOCKET] {
        let call = world.exec(way, &["-echo", "exec", "sh", "-c", "echo begun; exec sleep 6001"]);
        assert!(wait_until(LIMIT, || world.runs("6001")), "{way:?}: it did not begin");
        world.home.daemon.stop().unwrap();
        let said = Outcome::one(call);
        assert_eq!(said.code, -1, "{way:?}: {said:?}");
        assert!(said.error.contains("the runtime is shutting down"), "{way:?}: {said:?}");
        world.home.daemon.start().unwrap();
        world.cri = crate::cri::Cri::connect(&world.home.daemon.socket()).unwrap();
        assert!(wait_until(LIMIT, || !world.runs("6001")), "{way:?}: the command runs on");
    }
    world.end();
}

/// Whatever reaches the port, the daemon goes on.
#[test]
fn bytes_of_any_kind_after_the_upgrade_end_their_connection_only() {
    require_root!();
    let world = World::start();
    let websocket =
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for n in 0..20u8 {
        let (address, path) = parts(&url(&world));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let (method, headers) = if n % 2 == 0 { ("POST", SPDY_V4) } else { ("GET", websocket) };
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n{headers}\r\n")
            .unwrap();
        // A kind of frame that does not exist, an impossible length, and noise.
        let noise: Vec<u8> =
            (0..100_000u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2] ^ n).collect();
        let begin: &[u8] = if n % 2 == 0 { &[0x80, 9, 0, 1, 0, 0, 0, 1] } else { &[0xf3, 0xff] };
        stream.write_all(begin).ok();
        stream.write_all(&noise).ok();
        // It is closed, and not waited for.
        drop(stream.read_to_end(&mut Vec::new()));
    }
    assert_eq!(world.cri.exec(&world.container, &["echo", "well"]).unwrap(), "well\n");
    world.end();
}
