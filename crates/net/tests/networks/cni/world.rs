//! A host with its own directories of configurations and plugins.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use berth_net::resolv::Dns;
use berth_net::{
    AttachRequest, Attached, Cni, CniConfig, CniLimits, Garbage, NetError, PodNetwork, PortMapping,
};
use berth_testkit::executable;
use berth_types::SandboxId;
use serde_json::{Value, json};

use crate::world::{Ns, World};

/// Where Debian's package has its plugins.
pub(crate) const PLUGINS: &str = "/usr/lib/cni";

/// Returns from a test, with a line that says so, when it cannot run.
macro_rules! require_plugins {
    ($name:literal) => {
        crate::world::require_root!($name);
        if !std::path::Path::new(crate::cni::world::PLUGINS).join("bridge").exists() {
            eprintln!("skipped: {}: needs the package containernetworking-plugins", $name);
            return;
        }
    };
}
pub(crate) use require_plugins;

/// A host with directories for CNI.
pub(crate) struct CniWorld {
    pub(crate) world: World,
    pub(crate) limits: CniLimits,
    pub(crate) garbage: Garbage,
    number: u8,
}

/// A pod as it asks for a network.
#[derive(Default)]
pub(crate) struct Wishes {
    pub(crate) ports: Vec<PortMapping>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) dns: Option<Dns>,
}

impl CniWorld {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let world = World::new();
        for dir in ["net.d", "bin", "data"] {
            std::fs::create_dir(world.dir().join(dir)).unwrap();
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { world, limits: CniLimits::default(), garbage: Garbage::Collect, number }
    }

    /// A pod of this test alone: plugins are known by their pod.
    pub(crate) fn id(&self, pod: u8) -> SandboxId {
        let mut bytes = [self.number; 32];
        bytes[0] = pod;
        SandboxId::from_random(bytes)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.world.dir().join(name)
    }

    pub(crate) fn config(&self) -> CniConfig {
        CniConfig {
            conf_dir: self.path("net.d"),
            bin_dirs: vec![self.path("bin"), PLUGINS.into()],
            dir: self.path("records"),
            garbage: self.garbage,
            limits: self.limits,
        }
    }

    pub(crate) fn open(&self) -> Cni {
        self.world.host.run(|| Cni::open(self.config()).unwrap())
    }

    /// Writes a configuration.
    pub(crate) fn configure(&self, file: &str, list: &Value) {
        std::fs::write(self.path("net.d").join(file), list.to_string()).unwrap();
    }

    /// Writes a plugin. Its script has `$L` for notes: a file of which each line is one call.
    pub(crate) fn plugin(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        let notes = self.path("notes");
        let text = format!(
            "#!/bin/sh\nL={}\nV='{{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.4.0\",\"1.0.0\",\"1.1.0\"]}}'\n\
             IP='{{\"cniVersion\":\"1.1.0\",\"interfaces\":[{{\"name\":\"eth0\",\"sandbox\":\"'$CNI_NETNS'\"}}],\"ips\":[{{\"address\":\"10.9.0.2/24\",\"interface\":0}}]}}'\n\
             [ \"$CNI_COMMAND\" = VERSION ] && {{ echo \"$V\"; exit 0; }}\n\
             echo \"{name} $CNI_COMMAND\" >>$L\n{script}\n",
            notes.display()
        );
        executable::script(&path, text);
    }

    /// A network of plugins that were written by [`CniWorld::plugin`].
    pub(crate) fn chain(&self, version: &str, plugins: &[&str]) {
        let plugins: Vec<_> = plugins.iter().map(|kind| json!({ "type": kind })).collect();
        self.configure("10.conflist", &json!({ "cniVersion": version, "name": "pods", "plugins": plugins }));
    }

    /// The calls since the last question.
    pub(crate) fn calls(&self) -> Vec<String> {
        let path = self.path("notes");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::remove_file(path).ok();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn attach(&self, net: &Cni, id: u8, ns: &Ns) -> Result<Attached, NetError> {
        self.attach_with(net, id, ns, &Wishes::default())
    }

    pub(crate) fn attach_with(
        &self,
        net: &Cni,
        id: u8,
        ns: &Ns,
        wishes: &Wishes,
    ) -> Result<Attached, NetError> {
        let (id, path) = (self.id(id), netns_path(ns));
        self.world.host.run(|| {
            net.attach(&AttachRequest {
                sandbox: &id,
                name: "web-0",
                namespace: "shop",
                uid: "u-1",
                annotations: &wishes.annotations,
                netns: ns.fd(),
                netns_path: Some(&path),
                ports: &wishes.ports,
                dns: wishes.dns.as_ref(),
            })
        })
    }

    pub(crate) fn detach(&self, net: &Cni, id: u8) -> Result<(), NetError> {
        self.world.host.run(|| net.detach(&self.id(id)))
    }

    /// The pods that have a record.
    pub(crate) fn records(&self) -> Vec<SandboxId> {
        let entries = std::fs::read_dir(self.path("records/pods")).into_iter().flatten().flatten();
        let name = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok();
        entries.filter_map(name).collect()
    }

    /// The addresses that host-local has given away on a network.
    pub(crate) fn leased(&self, network: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("data").join(network)).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let mut leased: Vec<_> = names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect();
        leased.sort();
        leased
    }

    /// The `ipam` section of a network with addresses of these blocks.
    pub(crate) fn host_local(&self, subnets: &[&str]) -> Value {
        let ranges: Vec<_> = subnets.iter().map(|subnet| json!([{ "subnet": subnet }])).collect();
        let route = |subnet: &&str| json!({ "dst": if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" } });
        let routes: Vec<_> = subnets.iter().map(route).collect();
        json!({ "type": "host-local", "dataDir": self.path("data"), "ranges": ranges, "routes": routes })
    }

    /// The usual network: a bridge with host ports.
    pub(crate) fn bridge(&self, version: &str, subnets: &[&str]) {
        let bridge = json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "ipam": self.host_local(subnets),
        });
        let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true }, "snat": true });
        self.configure(
            "10.conflist",
            &json!({ "cniVersion": version, "name": "pods", "plugins": [bridge, portmap] }),
        );
    }
}

/// A path of a namespace that other processes find.
pub(crate) fn netns_path(ns: &Ns) -> PathBuf {
    Path::new("/proc").join(std::process::id().to_string()).join("fd").join(ns.fd().as_raw_fd().to_string())
}

/// A short time for plugins that hang.
pub(crate) fn impatient() -> CniLimits {
    // Long enough for what only has to run a script, on an emulated machine too.
    let short = Duration::from_secs(3);
    CniLimits { add: short, del: short, upkeep: short, status: short, sweep: short }
}

pub(crate) fn words(error: &dyn std::error::Error) -> String {
    berth_types::error::chain(error)
}
