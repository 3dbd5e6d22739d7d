//! A server in a network namespace of the test's own, with a name server of the host behind it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use berth_dns::message::{self, Reply, kind};
use berth_dns::{Block, Data, Name, ResolvFiles, Server, ServerConfig, Zone};
use berth_testkit::guard;
use berth_testkit::isolated::{self, Kind};
use berth_testkit::require_root;

const LIMIT: Duration = Duration::from_secs(10);
/// Long enough to see that nothing comes.
const SILENCE: Duration = Duration::from_millis(700);
const UPSTREAM: &str = "127.0.0.2:53";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn zone() -> Zone {
    let mut zone = Zone::new(&name("cluster.local"), &["10.212.0.10".parse().unwrap()], Vec::new());
    zone.add(name("web.default.svc.cluster.local"), Data::A("10.212.0.20".parse().unwrap()));
    for i in 0..100 {
        zone.add(name("many.default.svc.cluster.local"), Data::A(Ipv4Addr::new(10, 208, 0, i)));
    }
    zone.add(name("out.default.svc.cluster.local"), Data::Cname(name("db.example.com")));
    zone.add(name("loop.default.svc.cluster.local"), Data::Cname(name("loop.default.svc.cluster.local")));
    let target = name("web-0.web.default.svc.cluster.local");
    zone.add(target.clone(), Data::A("10.208.0.5".parse().unwrap()));
    zone.add(name("_http._tcp.web.default.svc.cluster.local"), Data::Srv(8080, target));
    zone
}

/// A server for clients of `block`, and the test that asks it.
fn with_server(block: &str, test: impl FnOnce(SocketAddr) + Send) {
    let base: IpAddr = block.parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = ResolvFiles { host: dir.path().join("host"), resolved: dir.path().join("resolved") };
    std::fs::write(&files.host, "nameserver 127.0.0.53\n").unwrap();
    std::fs::write(&files.resolved, "nameserver 127.0.0.2\n").unwrap();
    isolated::run(&[Kind::Network], || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = IpAddr::from(Ipv4Addr::LOCALHOST);
        let (known_as, clients) = (Vec::new(), vec![Block::new(base, 8)]);
        let config = ServerConfig { address, port: 0, known_as, clients, files };
        let server = runtime.block_on(Server::start(config, zone())).unwrap();
        let at = SocketAddr::new(address, server.port());
        std::thread::scope(|scope| {
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            // Threads of this one are in its namespace.
            let tested = scope.spawn(move || {
                test(at);
                drop(end);
            });
            runtime.block_on(async { ended.await.ok() });
            tested.join().unwrap();
        });
        drop(server);
    })
    .unwrap();
}

fn udp(to: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send_to(query, to)?;
    let mut buffer = vec![0; 65_535];
    let (length, _) = socket.recv_from(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn tcp(to: SocketAddr, query: &[u8]) -> Vec<u8> {
    try_tcp(to, query).unwrap()
}

fn try_tcp(to: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(&u16::try_from(query.len()).unwrap().to_be_bytes())?;
    stream.write_all(query)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn lookup(to: SocketAddr, text: &str, wanted: u16) -> (Vec<u8>, Reply) {
    let asked = message::ask(7, &name(text), wanted);
    let answer = udp(to, &asked).unwrap();
    assert!(message::answers(&asked, &answer), "{text}");
    let read = message::reply(&answer).unwrap();
    (answer, read)
}

/// The packets that follow a query.
type Packets = Box<dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send>;

/// A name server of the host that answers queries one after another by these.
fn upstream<'scope>(scope: &'scope std::thread::Scope<'scope, '_>, answers: Vec<Packets>) {
    let socket = UdpSocket::bind(UPSTREAM).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    scope.spawn(move || {
        for answer in answers {
            let mut buffer = vec![0; 65_535];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            for packet in answer(&buffer[..length]) {
                socket.send_to(&packet, from).unwrap();
            }
        }
    });
}

/// An answer to `query` with one address.
fn addressed(query: &[u8], ip: [u8; 4]) -> Vec<u8> {
    let read = message::query(query).unwrap();
    let mut answer = message::Answer::new(&read, query, 512);
    answer.answer(&read.name, kind::A, 60, &ip);
    answer.finish()
}

#[test]
fn names_of_the_zone_are_answered_by_both_protocols() {
    require_root!();
    with_server("127.0.0.0", |at| {
        let (answer, read) = lookup(at, "Web.default.svc.cluster.local", kind::A);
        assert_eq!((read.rcode, read.answers.len()), (0, 1));
        assert_eq!(answer[read.answers[0].data.clone()], [10, 212, 0, 20]);
        assert_eq!(answer[2] & 0x04, 0x04, "it is authoritative");
        for (text, wanted, rcode) in
            [("web.default.svc.cluster.local", kind::AAAA, 0), ("no.default.svc.cluster.local", kind::A, 3)]
        {
            let (answer, read) = lookup(at, text, wanted);
            // The SOA record says for how long.
            assert_eq!((read.rcode, read.answers.len(), answer[9]), (rcode, 0, 1), "{text}");
        }
        let (cut, read) = lookup(at, "many.default.svc.cluster.local", kind::A);
        assert!(read.truncated && cut.len() <= 512);
        let whole = tcp(at, &message::ask(7, &name("many.default.svc.cluster.local"), kind::A));
        let read = message::reply(&whole).unwrap();
        assert_eq!((read.truncated, read.answers.len()), (false, 100));
        let (ports, read) = lookup(at, "_http._tcp.web.default.svc.cluster.local", kind::SRV);
        // With the address of its target, so that nobody asks again.
        assert_eq!((read.answers.len(), ports[11]), (1, 1));
        assert_eq!(lookup(at, "loop.default.svc.cluster.local", kind::A).1.rcode, 2);
    });
}

#[test]
fn other_names_are_those_of_the_hosts_resolvers() {
    require_root!();
    with_server("127.0.0.0", |at| {
        std::thread::scope(|scope| {
            let plain = |query: &[u8]| vec![addressed(query, [192, 0, 2, 9])];
            // Answers that somebody else made are no answers.
            let forged = |query: &[u8]| {
                let good = addressed(query, [192, 0, 2, 9]);
                let (mut number, mut question) = (good.clone(), good.clone());
                number[0] ^= 1;
                question[13] ^= 1;
                vec![number, question, b"x".to_vec(), good]
            };
            upstream(scope, vec![Box::new(plain), Box::new(forged), Box::new(plain)]);
            for _ in 0..2 {
                let (answer, read) = lookup(at, "www.example.com", kind::A);
                assert_eq!(answer[read.answers[0].data.clone()], [192, 0, 2, 9]);
            }
            let (answer, read) = lookup(at, "out.default.svc.cluster.local", kind::A);
            let kinds: Vec<_> = read.answers.iter().map(|record| record.kind).collect();
            assert_eq!(kinds, [kind::CNAME, kind::A]);
            assert_eq!(read.answers[1].name, name("db.example.com"));
            assert_eq!(answer[read.answers[1].data.clone()], [192, 0, 2, 9]);
        });
        // Nobody listens any more.
        assert_eq!(lookup(at, "www.example.com", kind::A).1.rcode, 2);
        assert_eq!(lookup(at, "out.default.svc.cluster.local", kind::A).1.rcode, 2);
        assert_eq!(lookup(at, "web.default.svc.cluster.local", kind::A).1.rcode, 0);
    });
}

#[test]
fn outsiders_get_nothing_and_nonsense_harms_nobody() {
    require_root!();
    with_server("10.0.0.0", |at| {
        let asked = message::ask(7, &name("web.default.svc.cluster.local"), kind::A);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        socket.send_to(&asked, at).unwrap();
        assert!(socket.recv_from(&mut [0; 512]).is_err());
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(&[0, 1, 2]).ok();
        assert!(matches!(stream.read(&mut [0; 2]), Ok(0) | Err(_)));
    });
    with_server("127.0.0.0", |at| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut number = 1_u64;
        for length in (0..4000).step_by(37) {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    number.to_be_bytes()[0]
                })
                .collect();
            socket.send_to(&bytes, at).unwrap();
        }
        socket.send_to(&vec![0xc0; 60_000], at).unwrap();
        // A client that says it sends more than is read, and one that says nothing.
        let mut long = TcpStream::connect(at).unwrap();
        long.write_all(&[0xff, 0xff]).unwrap();
        long.set_read_timeout(Some(LIMIT)).unwrap();
        assert!(matches!(long.read(&mut [0; 2]), Ok(0) | Err(_)));
        // The many connections of one client leave room for others. What it has past its share is closed.
        let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(at).unwrap()).collect();
        for more in &silent[8..] {
            more.set_read_timeout(Some(LIMIT)).unwrap();
            assert!(matches!((&*more).read(&mut [0; 2]), Ok(0) | Err(_)));
        }
        assert_eq!(lookup(at, "web.default.svc.cluster.local", kind::A).1.answers.len(), 1);
        drop(silent);
        let asked = message::ask(7, &name("many.default.svc.cluster.local"), kind::A);
        // That those have ended is seen a moment later.
        let whole = guard::wait_for(LIMIT, || try_tcp(at, &asked).ok()).unwrap();
        assert_eq!(message::reply(&whole).unwrap().answers.len(), 100);
    });
}
