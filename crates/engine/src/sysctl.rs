//! Names of sysctls.

/// The path below `/proc/sys` that a name means, by sysctl(8): if its first separator is a slash, it is that path.
/// Otherwise dots separate, and a slash stands for a dot within a part: `net.ipv4.conf.eth0/100.forwarding`.
pub(crate) fn path(name: &str) -> String {
    match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'.') => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        Some(_) | None => name.to_owned(),
    }
}

/// Whether it is a setting of one network interface, which is there only after the pod is connected.
pub(crate) fn of_interface(name: &str) -> bool {
    let path = path(name);
    let mut parts = path.split('/');
    let (net, _family, kind) = (parts.next(), parts.next(), parts.next());
    net == Some("net")
        && matches!(kind, Some("conf" | "neigh"))
        && parts.next().is_some_and(|interface| !matches!(interface, "all" | "default" | "lo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_as_sysctl_reads_them() {
        for (name, want) in [
            ("net.core.somaxconn", "net/core/somaxconn"),
            ("net/core/somaxconn", "net/core/somaxconn"),
            ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
            ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
            ("kernel", "kernel"),
        ] {
            assert_eq!(path(name), want, "{name}");
        }
    }

    #[test]
    fn settings_of_an_interface_are_recognised() {
        for (name, want) in [
            ("net.ipv4.conf.eth0.rp_filter", true),
            ("net.ipv6.neigh.eth0.gc_stale_time", true),
            ("net/ipv4/conf/eth0.100/forwarding", true),
            ("net.ipv4.conf.all.rp_filter", false),
            ("net.ipv6.conf.default.accept_ra", false),
            ("net.ipv4.conf.lo.rp_filter", false),
            ("net.ipv4.ip_forward", false),
            ("kernel.shmmax", false),
        ] {
            assert_eq!(of_interface(name), want, "{name}");
        }
    }
}
