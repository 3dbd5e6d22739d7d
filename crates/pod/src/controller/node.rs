//! The machine as its pods are told of it.

use std::net::{IpAddr, UdpSocket};
use std::{fs, thread};

use crate::plan::Node;

/// Addresses of no host (RFC 5737, RFC 3849): the way to them is the way to everywhere.
const ELSEWHERE: [(&str, &str); 2] = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];

/// What is known of it now.
pub(super) fn of_this_machine() -> Node {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Node {
        // As a kubelet names its node.
        name: name.trim().to_lowercase(),
        addresses: addresses(),
        cpus: thread::available_parallelism().map_or(1, |n| n.get() as u64),
        memory: fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)).unwrap_or(0),
    }
}

/// Its addresses towards elsewhere.
pub(super) fn addresses() -> Vec<IpAddr> {
    ELSEWHERE.iter().filter_map(|(from, to)| towards(from, to)).collect()
}

/// The address that the machine would use. Nothing is sent.
fn towards(from: &str, to: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_read_in_kibibytes() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        let node = of_this_machine();
        assert!(!node.name.is_empty() && node.cpus > 0 && node.memory > 1 << 20, "{node:?}");
    }
}
