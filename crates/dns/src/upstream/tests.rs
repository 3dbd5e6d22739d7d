use super::*;
use crate::message;

fn servers(host: &str, resolved: &str) -> Vec<String> {
    let own = "10.212.0.10:53".parse().unwrap();
    let servers = chosen(host, || resolved.to_owned(), &[own]);
    servers.iter().map(|server| server.ip().to_string()).collect()
}

#[test]
fn the_real_servers_are_behind_the_stub() {
    let resolved = "nameserver 192.0.2.1\nnameserver 192.0.2.2\n";
    assert_eq!(
        servers("# stub\nnameserver 127.0.0.53\noptions edns0\n", resolved),
        ["192.0.2.1", "192.0.2.2"]
    );
    // One that the host runs itself is asked where there is no other.
    assert_eq!(servers("nameserver 127.0.0.1\n", ""), ["127.0.0.1"]);
    assert_eq!(
        servers("nameserver 198.51.100.1\nnameserver 127.0.0.1\n", resolved),
        ["198.51.100.1", "127.0.0.1"]
    );
    assert_eq!(servers("", ""), ["127.0.0.1"]);
    let four = "nameserver 1.1.1.1\nnameserver fe80::1%eth0\nnameserver 2.2.2.2\nnameserver x\nnameserver 3.3.3.3\nnameserver 4.4.4.4\n";
    assert_eq!(servers(four, ""), ["1.1.1.1", "2.2.2.2", "3.3.3.3"]);
}

#[test]
fn a_server_does_not_ask_itself() {
    let own = "nameserver 10.212.0.10\nnameserver ::ffff:10.212.0.10\n";
    assert_eq!(servers(&format!("{own}nameserver 192.0.2.7\n"), ""), ["192.0.2.7"]);
    assert_eq!(servers(own, "nameserver 192.0.2.1\n"), ["192.0.2.1"]);
    assert_eq!(servers("nameserver 127.0.0.53\n", own), ["127.0.0.53"]);
    assert_eq!(servers(own, own), ["127.0.0.1"]);
}

#[test]
fn files_that_are_missing_or_huge_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let files = ResolvFiles { host: dir.path().join("host"), resolved: dir.path().join("resolved") };
    assert_eq!(files.servers(&[]), ["127.0.0.1:53".parse().unwrap()]);
    std::fs::write(&files.host, "nameserver 192.0.2.7\n").unwrap();
    assert_eq!(files.servers(&[]), ["192.0.2.7:53".parse().unwrap()]);
    std::fs::write(&files.host, "nameserver 192.0.2.7\n".repeat(10_000)).unwrap();
    assert_eq!(files.servers(&[]), ["127.0.0.1:53".parse().unwrap()]);
}

/// A server that answers one query with this rcode.
async fn one_that_says(rcode: u8) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; MAX_MESSAGE];
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        buffer[2] |= 0x80;
        buffer[3] = rcode;
        socket.send_to(&buffer[..length], from).await.unwrap();
    });
    address
}

#[tokio::test]
async fn the_next_is_asked_where_one_cannot_say() {
    let query = message::ask(7, &"www.example.com".parse().unwrap(), message::kind::A);
    // The rcodes of both, and that of the answer: a name that does not exist is an answer.
    for (first, second, said) in [(2, 0, 0), (4, 3, 3), (5, 0, 0), (2, 5, 5), (3, 0, 3), (0, 3, 0)] {
        let (one, other) = (one_that_says(first).await, one_that_says(second).await);
        let answer = ask(&[one, other], &query, false).await.unwrap();
        assert_eq!(answer[3] & 15, said, "{first} and {second}");
    }
    // The last is silent: what the first said counts.
    let (one, silent) = (one_that_says(2).await, UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let answer = ask(&[one, silent.local_addr().unwrap()], &query, false).await.unwrap();
    assert_eq!(answer[3] & 15, 2);
}
