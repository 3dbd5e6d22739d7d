use super::*;

fn port(ip: &str, host_port: u16) -> PortMapping {
    let host_ip = (!ip.is_empty()).then(|| ip.parse().unwrap());
    PortMapping { protocol: Protocol::Tcp, host_ip, host_port, container_port: 80 }
}

#[test]
fn mappings_conflict_when_a_packet_could_mean_both() {
    for (a, b, expected) in [
        ("", "", true),
        ("", "0.0.0.0", true),
        ("", "::", true),
        ("", "10.0.0.1", true),
        ("0.0.0.0", "::", false),
        ("0.0.0.0", "127.0.0.1", true),
        ("10.0.0.1", "10.0.0.1", true),
        ("10.0.0.1", "10.0.0.2", false),
        ("::", "fd00::1", true),
        ("fd00::1", "10.0.0.1", false),
    ] {
        assert_eq!(port(a, 80).conflicts(&port(b, 80)), expected, "{a} {b}");
        assert_eq!(port(b, 80).conflicts(&port(a, 80)), expected, "{b} {a}");
        assert!(!port(a, 80).conflicts(&port(b, 81)));
        let udp = PortMapping { protocol: Protocol::Udp, ..port(b, 80) };
        assert!(!port(a, 80).conflicts(&udp));
    }
}

#[test]
fn a_mapping_prints_as_its_host_side() {
    assert_eq!(port("", 80).to_string(), "80/tcp");
    assert_eq!(port("127.0.0.1", 80).to_string(), "127.0.0.1:80/tcp");
    assert_eq!(port("::1", 80).to_string(), "[::1]:80/tcp");
}
