//! Installs what the tests need on Debian 12. What is there already is left alone.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{has, headline, is_root, must};

/// A Debian package, a file that shows it is installed, and what it is for.
struct Package {
    name: &'static str,
    shows: &'static [&'static str],
    purpose: &'static str,
}

const PACKAGES: &[Package] = &[
    Package { name: "busybox-static", shows: &["/bin/busybox", "/usr/bin/busybox"], purpose: "test images" },
    Package { name: "nginx-light", shows: &["/usr/sbin/nginx"], purpose: "test images" },
    Package {
        name: "catatonit",
        shows: &["/usr/bin/catatonit", "/usr/libexec/podman/catatonit"],
        purpose: "test images",
    },
    Package {
        name: "python3-grpcio",
        shows: &["/usr/lib/python3/dist-packages/grpc/__init__.py"],
        purpose: "calls us by gRPC's C core",
    },
    Package { name: "skopeo", shows: &["/usr/bin/skopeo"], purpose: "reads what our registry serves" },
    Package {
        name: "docker-registry",
        shows: &["/usr/bin/docker-registry"],
        purpose: "answers beside our registry",
    },
    Package { name: "gpg", shows: &["/usr/bin/gpg"], purpose: "signs images" },
    Package { name: "gpg-agent", shows: &["/usr/bin/gpg-agent"], purpose: "keeps the keys that sign images" },
    Package { name: "openssl", shows: &["/usr/bin/openssl"], purpose: "plays sigstore's authorities" },
    Package { name: "umoci", shows: &["/usr/bin/umoci"], purpose: "unpacks beside us" },
    Package { name: "runc", shows: &["/usr/sbin/runc", "/usr/bin/runc"], purpose: "runs bundles beside us" },
    Package { name: "crun", shows: &["/usr/bin/crun"], purpose: "runs bundles beside us" },
    Package { name: "podman", shows: &["/usr/bin/podman"], purpose: "runs its containers on berth-oci" },
    Package { name: "conmon", shows: &["/usr/bin/conmon"], purpose: "is the parent of podman's containers" },
    Package {
        name: "procps",
        shows: &["/usr/bin/ps", "/bin/ps"],
        purpose: "shows the processes of a container",
    },
    Package {
        name: "containerd",
        shows: &["/usr/bin/containerd-shim-runc-v2"],
        purpose: "is a shim of others",
    },
    Package { name: "docker.io", shows: &["/usr/sbin/dockerd"], purpose: "runs its containers on berth-oci" },
    Package {
        name: "libseccomp-dev",
        shows: &["/usr/include/seccomp.h"],
        purpose: "compiles seccomp profiles beside us",
    },
    Package { name: "pkg-config", shows: &["/usr/bin/pkg-config"], purpose: "finds libseccomp" },
    Package { name: "nftables", shows: &["/usr/sbin/nft"], purpose: "shows the rules we made" },
    Package {
        name: "iproute2",
        shows: &["/usr/sbin/ip", "/sbin/ip", "/bin/ip"],
        purpose: "shows the links we made",
    },
    Package { name: "iptables", shows: &["/usr/sbin/iptables"], purpose: "plays Docker's FORWARD DROP" },
    Package {
        name: "containernetworking-plugins",
        shows: &["/usr/lib/cni/bridge"],
        purpose: "connects pods",
    },
    Package {
        name: "apparmor",
        shows: &["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"],
        purpose: "compiles our profile",
    },
    Package {
        name: "dbus-daemon",
        shows: &["/usr/bin/dbus-daemon"],
        purpose: "carries what systemd is asked",
    },
    Package {
        name: "dbus",
        shows: &["/lib/systemd/system/dbus.service", "/usr/lib/systemd/system/dbus.service"],
        purpose: "starts it as a host does",
    },
    Package { name: "curl", shows: &["/usr/bin/curl"], purpose: "fetches from pods" },
    Package { name: "strace", shows: &["/usr/bin/strace"], purpose: "counts system calls" },
    Package { name: "jq", shows: &["/usr/bin/jq"], purpose: "reads JSON" },
    Package { name: "attr", shows: &["/usr/bin/setfattr"], purpose: "extended attributes" },
    Package {
        name: "libcap2-bin",
        shows: &["/usr/sbin/setcap", "/sbin/setcap"],
        purpose: "file capabilities",
    },
    Package { name: "util-linux", shows: &["/usr/bin/unshare"], purpose: "namespaces" },
    Package { name: "gcc", shows: &["/usr/bin/gcc"], purpose: "links" },
    Package {
        name: "libc6-dev",
        shows: &["/usr/lib/x86_64-linux-gnu/libc.a", "/usr/lib/aarch64-linux-gnu/libc.a"],
        purpose: "static programs",
    },
];

/// What `cargo xtask vm` needs beside them.
const VIRTUAL_MACHINE: &[Package] = &[
    Package {
        name: "qemu-system-x86",
        shows: &["/usr/bin/qemu-system-x86_64"],
        purpose: "plays another machine",
    },
    Package {
        name: "qemu-system-common",
        shows: &["/usr/lib/qemu/virtiofsd"],
        purpose: "shows it this one's files",
    },
    Package {
        name: "linux-image-cloud-amd64",
        shows: &["/usr/share/doc/linux-image-cloud-amd64"],
        purpose: "its kernel",
    },
    Package { name: "systemd", shows: &["/lib/systemd/systemd"], purpose: "its first process" },
    Package { name: "kmod", shows: &["/sbin/modprobe", "/usr/sbin/modprobe"], purpose: "its modules" },
    Package { name: "e2fsprogs", shows: &["/sbin/mkfs.ext4", "/usr/sbin/mkfs.ext4"], purpose: "its disk" },
];

/// Installs what the tests need.
pub(crate) fn run() -> Result<()> {
    install(PACKAGES)
}

/// Installs that, and what a virtual machine needs.
pub(crate) fn virtual_machine() -> Result<()> {
    install(PACKAGES)?;
    install(VIRTUAL_MACHINE)
}

fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<_> =
        packages.iter().filter(|p| !p.shows.iter().any(|f| Path::new(f).exists())).collect();
    if missing.is_empty() {
        headline(&format!("setup: all {} packages are there", packages.len()));
        return Ok(());
    }
    for package in &missing {
        headline(&format!("setup: {} is missing ({})", package.name, package.purpose));
    }
    let names: Vec<_> = missing.iter().map(|p| p.name).collect();
    if !has("apt-get") || !is_root() {
        bail!("install these packages as root: apt-get install {}", names.join(" "));
    }
    must(apt_get().args(["update", "-q"]))?;
    must(apt_get().args(["install", "-q", "-y", "--no-install-recommends"]).args(&names))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(std::process::Stdio::null());
    // nginx must not be started by its installation.
    command.env("RUNLEVEL", "1").args(["-o", "Dpkg::Use-Pty=0"]);
    command
}
