//! The DNS server while it is needed: there are services, or pods that were told of it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use berth_dns::{ResolvFiles, Server, ServerConfig, Zone};
use berth_engine::model::SandboxView;
use berth_engine::services::ServiceNetwork;

use super::{ServiceError, allot, records};
use crate::plan::Cluster;

/// That of DNS.
const PORT: u16 = 53;
/// The most bytes of the host's resolv.conf.
const MAX_FILE: u64 = 64 << 10;

/// Starts a server on the host's address on the bridge. Its port is any: rules lead to it from that of DNS on the address that
/// pods know, so the host's own port 53 is left alone.
pub(super) async fn start(network: &ServiceNetwork, zone: Zone) -> Result<Server, ServiceError> {
    let address = IpAddr::from(network.gateway4);
    let clients = records::blocks(network);
    let known_as = vec![SocketAddr::new(allot::dns(network), PORT)];
    let config = ServerConfig { address, port: 0, known_as, clients, files: ResolvFiles::default() };
    Server::start(config, zone).await.map_err(|source| ServiceError::Dns { address, source })
}

/// Whether a pod was told of the server.
pub(super) fn is_asked_by(view: &SandboxView, network: &ServiceNetwork) -> bool {
    let server = allot::dns(network).to_string();
    view.config.dns.as_ref().is_some_and(|dns| dns.servers.contains(&server))
}

/// What pods are told.
pub(super) fn cluster(network: &ServiceNetwork) -> Cluster {
    let path = Path::new("/etc/resolv.conf");
    let small = std::fs::metadata(path).is_ok_and(|found| found.len() <= MAX_FILE);
    let text = small.then(|| std::fs::read_to_string(path).ok()).flatten().unwrap_or_default();
    Cluster { server: allot::dns(network), searches: searches(&text) }
}

/// The search domains of a resolv.conf: the last line counts.
fn searches(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let known = matches!(words.next(), Some("search" | "domain"));
        known.then(|| words.map(str::to_owned).collect())
    };
    text.lines().filter_map(line).next_back().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_searches_counts() {
        assert_eq!(searches("search a.example b.example\nnameserver 1.1.1.1\n"), ["a.example", "b.example"]);
        assert_eq!(searches("domain a.example\nsearch b.example\n"), ["b.example"]);
        assert!(searches("nameserver 1.1.1.1\n#search x\n").is_empty());
    }
}
