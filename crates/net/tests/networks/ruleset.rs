//! The firewall table as nft(8) prints it.

use berth_net::{PortMapping, Protocol};

use crate::world::{World, ip, require_root, tcp, udp};

/// Compares with a file; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{}", path.display());
}

#[test]
fn the_table_is_the_same_for_any_number_of_pods() {
    require_root!("the_table_is_the_same_for_any_number_of_pods");
    let world = World::new();
    let net = world.open();
    let table = || world.host.sh("nft list table inet berth; nft list table bridge berth");
    golden("dual-stack.nft", &table());
    let empty = table();
    let on = |address: &str, port| PortMapping { host_ip: Some(ip(address)), ..port };
    let sctp = PortMapping { protocol: Protocol::Sctp, ..tcp(9, 90) };
    let pods = [
        world.pod(&net, 1, &[tcp(80, 8080), on("192.0.2.1", udp(53, 5353))]),
        world.pod(&net, 2, &[sctp, on("2001:db8::1", tcp(80, 81)).with_port(443)]),
        world.pod(&net, 3, &[]),
    ];
    golden("dual-stack-ports.nft", &table());
    drop(net);
    let net = world.open();
    golden("dual-stack-ports.nft", &table());
    for pod in &pods {
        world.host.run(|| net.detach(&pod.id).unwrap());
    }
    assert_eq!(table(), empty);
}

#[test]
fn the_table_of_a_host_without_ipv6() {
    require_root!("the_table_of_a_host_without_ipv6");
    let world = World::new();
    let config = berth_net::Config { cidr6: berth_net::Ipv6::Off, ..world.config() };
    let _net = world.open_with(config);
    golden("ipv4.nft", &world.host.sh("nft list table inet berth; nft list table bridge berth"));
}

trait WithPort {
    fn with_port(self, host_port: u16) -> Self;
}

impl WithPort for PortMapping {
    fn with_port(self, host_port: u16) -> Self {
        Self { host_port, ..self }
    }
}
