use super::*;

fn servers(host: &str, resolved: &str) -> Vec<String> {
    let servers = chosen(host, || resolved.to_owned());
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
fn files_that_are_missing_or_huge_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let files = ResolvFiles { host: dir.path().join("host"), resolved: dir.path().join("resolved") };
    assert_eq!(files.servers(), ["127.0.0.1:53".parse().unwrap()]);
    std::fs::write(&files.host, "nameserver 192.0.2.7\n").unwrap();
    assert_eq!(files.servers(), ["192.0.2.7:53".parse().unwrap()]);
    std::fs::write(&files.host, "nameserver 192.0.2.7\n".repeat(10_000)).unwrap();
    assert_eq!(files.servers(), ["127.0.0.1:53".parse().unwrap()]);
}
