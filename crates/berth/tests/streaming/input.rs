//! Input of attached clients that go.

use std::io::{Read, Write};
use std::net::TcpStream;

use berth_cri::api;
use berth_testkit::{require_root, wait_until};

use crate::home::LIMIT;
use crate::world::World;

/// A message of WebSocket; its mask leaves the bytes as they are.
fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u64::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0x82, 0xff][..], &length, &[0; 4], bytes].concat()
}

/// A client that attaches, sends so many bytes, ends its input or not, and goes, all before the container reads a byte.
fn sends_and_goes(world: &World, container: &str, size: usize, ends: bool) {
    let request = api::AttachRequest {
        container_id: container.to_owned(),
        stdin: true,
        stdout: true,
        ..Default::default()
    };
    let url = world.cri.call(async |mut client| client.attach(request).await).unwrap().url;
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n";
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
    // The head of the answer, and the empty message on the output's channel that follows.
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n\x82\x01\x01") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    stream.write_all(&message(&[&[0][..], &vec![b'i'; size]].concat())).unwrap();
    if ends {
        stream.write_all(&message(&[255, 0])).unwrap();
    }
}

/// contract 50
#[test]
fn input_of_a_client_that_goes_reaches_the_container() {
    require_root!();
    let world = World::start();
    // What fits into the queues on the way, and more than that: the rest is still in the connection.
    for (size, ends) in [(300 << 10, true), (300 << 10, false), (1 << 20, true), (1 << 20, false)] {
        for once in [true, false] {
            let name = format!("input-{size}-{ends}-{once}");
            let count = if once { "wc -c".to_owned() } else { format!("head -c {size} | wc -c") };
            let line = format!("while ! [ -e /go ]; do sleep 0.1; done; {count}");
            let container =
                world.run(&name, &line, |config| (config.stdin, config.stdin_once) = (true, once));
            sends_and_goes(&world, &container, size, ends);
            world.cri.exec(&container, &["touch", "/go"]).unwrap();
            let log = || std::fs::read_to_string(world.log(&name)).unwrap();
            assert!(wait_until(LIMIT, || log().ends_with('\n')), "{name}: not all came");
            assert!(log().ends_with(&format!(" F {size}\n")), "{name}: {}", log());
        }
    }
    world.end();
}
