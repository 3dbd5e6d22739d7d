//! Ports of a pod.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Stdio};

use berth_cri::api::NamespaceMode;
use berth_testkit::guard::has_program;
use berth_testkit::{require, require_root, wait_until};

use crate::client::{SPDY, WEBSOCKET, Way};
use crate::home::LIMIT;
use crate::world::World;

/// A client that forwards ports, until it is dropped.
struct Forwarded {
    child: Child,
    _stdin: ChildStdin,
    locals: Vec<u16>,
}

impl Forwarded {
    fn start(world: &World, way: Way, ports: &[u16]) -> Self {
        let list: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let mut command = world.client(way, &["forward", &list.join(",")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let locals = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        Self { _stdin: child.stdin.take().unwrap(), child, locals }
    }

    fn connect(&self, n: usize) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.locals[n])).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn v6(port: u16) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port).into()
}

/// Serves each connection in a thread, as long as the test runs.
fn serve(listener: TcpListener, each: impl Fn(TcpStream) + Clone + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, each) = (stream.unwrap(), each.clone());
            std::thread::spawn(move || each(stream));
        }
    });
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// contract 50
#[test]
fn each_direction_ends_by_itself_over_ipv4_and_ipv6() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    // It answers when it has read everything.
    let counts = |mut stream: TcpStream| {
        let text = read_all(&mut stream);
        write!(stream, "{} bytes", text.len()).unwrap();
    };
    serve(world.listen(v4(8001)), counts);
    serve(world.listen(v6(8002)), counts);
    // It says everything, and reads then.
    let (told, heard) = std::sync::mpsc::channel();
    serve(world.listen(v4(8003)), move |mut stream| {
        stream.write_all(b"all I have").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        told.send(read_all(&mut stream)).unwrap();
    });
    for way in [SPDY, WEBSOCKET] {
        let client = Forwarded::start(&world, way, &[8001, 8002, 8003]);
        for n in [0, 1] {
            let mut stream = client.connect(n);
            stream.write_all(&[b'x'; 70_000]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_all(&mut stream), "70000 bytes", "{way:?} {n}");
        }
        let mut stream = client.connect(2);
        stream.write_all(b"and I").unwrap();
        assert_eq!(read_all(&mut stream), "all I have", "{way:?}");
        drop(stream);
        assert_eq!(heard.recv_timeout(LIMIT).unwrap(), "and I", "{way:?}");
    }
    world.end();
}

/// contract 50
#[test]
fn a_hundred_mebibytes_go_through_in_both_directions_at_once() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    const SIZE: usize = 100 << 20;
    let world = World::start();
    serve(world.listen(v4(8001)), |mut stream| {
        let mut back = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut back).unwrap();
        back.shutdown(Shutdown::Write).unwrap();
    });
    for way in [SPDY, WEBSOCKET] {
        let client = Forwarded::start(&world, way, &[8001]);
        let mut to = client.connect(0);
        let mut from = to.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            let block: Vec<u8> = (0u32..1 << 18).flat_map(u32::to_ne_bytes).collect();
            for _ in 0..SIZE / block.len() {
                to.write_all(&block).unwrap();
            }
            to.shutdown(Shutdown::Write).unwrap();
        });
        let block: Vec<u8> = (0u32..1 << 18).flat_map(u32::to_ne_bytes).collect();
        let mut got = vec![0; block.len()];
        for n in 0..SIZE / block.len() {
            from.read_exact(&mut got).unwrap();
            assert!(got == block, "{way:?}: block {n} is damaged");
        }
        assert_eq!(from.read(&mut got).unwrap(), 0, "{way:?}: more than was sent");
        writer.join().unwrap();
    }
    world.end();
}

/// A reset by the program in the pod must not make the client give up all connections, as text on the error stream does.
#[test]
fn a_connection_that_is_broken_off_ends_no_other() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    serve(world.listen(v4(8001)), |stream| {
        // Bytes that were not read make the kernel reset the connection.
        let mut byte = [0];
        stream.peek(&mut byte).unwrap();
    });
    serve(world.listen(v4(8002)), |mut stream| {
        let mut back = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut back).ok();
    });
    for way in [SPDY, WEBSOCKET] {
        let mut client = Forwarded::start(&world, way, &[8001, 8002]);
        let mut echo = client.connect(1);
        let mut byte = [0];
        for _ in 0..10 {
            let mut broken = client.connect(0);
            broken.write_all(b"hello").unwrap();
            assert!(!matches!(broken.read(&mut byte), Ok(1)), "{way:?}");
            echo.write_all(b"x").unwrap();
            echo.read_exact(&mut byte).unwrap();
        }
        assert!(client.runs(), "{way:?}: the client has given up");
    }
    world.end();
}

/// The client gives a connection up in the middle of what it gets: half a frame would be the end of all of them.
#[test]
fn a_connection_that_the_client_breaks_off_ends_no_other() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    serve(world.listen(v4(8001)), |mut stream| while stream.write_all(&[7; 64 << 10]).is_ok() {});
    serve(world.listen(v4(8002)), |mut stream| {
        let mut back = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut back).ok();
    });
    for way in [SPDY, WEBSOCKET] {
        let mut client = Forwarded::start(&world, way, &[8001, 8002]);
        let mut echo = client.connect(1);
        let mut byte = [0];
        for round in 0..20 {
            let mut endless = client.connect(0);
            endless.read_exact(&mut byte).unwrap();
            drop(endless);
            echo.write_all(b"x").unwrap();
            echo.read_exact(&mut byte).unwrap_or_else(|e| panic!("{way:?}, {round}: {e}"));
            assert_eq!(&byte, b"x", "{way:?}, {round}");
        }
        assert!(client.runs(), "{way:?}: the client has given up");
    }
    world.end();
}

/// As far as SPDY allows it, which has no flow control: what a stream and the kernel keep.
#[test]
fn a_pod_that_takes_little_on_one_connection_holds_up_no_other() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    let (keep, kept) = std::sync::mpsc::channel();
    serve(world.listen(v4(8001)), move |stream| keep.send(stream).unwrap());
    serve(world.listen(v4(8002)), |mut stream| {
        let mut back = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut back).ok();
    });
    for way in [SPDY, WEBSOCKET] {
        let client = Forwarded::start(&world, way, &[8001, 8002]);
        let mut slow = client.connect(0);
        let unread = kept.recv_timeout(LIMIT).unwrap();
        slow.write_all(&[7; 256 << 10]).unwrap();
        let mut many: Vec<_> = (0..100).map(|_| client.connect(1)).collect();
        for (n, echo) in many.iter_mut().enumerate() {
            echo.write_all(&n.to_ne_bytes()).unwrap();
        }
        let mut first = [0; 8];
        for (n, echo) in many.iter_mut().enumerate() {
            echo.read_exact(&mut first).unwrap_or_else(|e| panic!("{way:?}: connection {n}: {e}"));
            assert_eq!(first, n.to_ne_bytes(), "{way:?}");
        }
        drop(unread);
    }
    world.end();
}

/// contract 50
#[test]
fn a_port_where_nothing_listens_is_told() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    for way in [SPDY, WEBSOCKET] {
        let mut command = world.client(way, &["forward", "8009"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let locals: Vec<u16> = serde_json::from_str(&line).unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, locals[0])).unwrap();
        drop(stream.read(&mut [0]));
        // Kubernetes' client gives up then.
        assert!(wait_until(LIMIT, || child.try_wait().unwrap().is_some()), "{way:?}");
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        for part in ["127.0.0.1:8009: Connection refused", "[::1]:8009: Connection refused"] {
            assert!(said.contains(part), "{way:?}: {said}");
        }
    }
    world.end();
}

/// contract 50
#[test]
fn a_pod_in_the_hosts_network_is_reached_there() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::with(NamespaceMode::Node, &[]);
    let listener = world.listen(v4(0));
    let port = listener.local_addr().unwrap().port();
    serve(listener, |mut stream| stream.write_all(b"host").unwrap());
    for way in [SPDY, WEBSOCKET] {
        let client = Forwarded::start(&world, way, &[port]);
        assert_eq!(read_all(&mut client.connect(0)), "host", "{way:?}");
    }
    world.end();
}
