//! The usual network of a node: CNI's plugins bridge, host-local and portmap, with a bridge and addresses of its own.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::isolated::{self, Kind};
use crate::{Error, Result};

/// The configuration's version of the specification, which Debian 12's plugins know too.
const VERSION: &str = "1.0.0";

/// A configuration directory; the bridge goes when it is dropped.
#[derive(Debug)]
pub struct Network {
    dir: tempfile::TempDir,
    plugins: PathBuf,
    bridge: String,
}

/// How long a chain of plugins took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// ADD.
    pub add: Duration,
    /// DEL.
    pub del: Duration,
}

impl Network {
    /// Of the plugins in a directory, such as Debian's `/usr/lib/cni`.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn new(plugins: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("berth-cni-").tempdir();
        let dir = dir.map_err(Error::io("make a directory for the network"))?;
        let bridge = format!("bcni{:x}", std::process::id());
        let network = Self { dir, plugins: plugins.to_owned(), bridge };
        let conf = network.conf();
        std::fs::create_dir(&conf).map_err(Error::io(format!("make {}", conf.display())))?;
        let file = conf.join("10-network.conflist");
        let text = json!({ "cniVersion": VERSION, "name": network.bridge, "plugins": network.chain() });
        std::fs::write(&file, text.to_string()).map_err(Error::io(format!("write {}", file.display())))?;
        Ok(network)
    }

    /// The arguments of `berth serve` that make it the pods' network.
    pub fn arguments(&self) -> [String; 6] {
        let (conf, plugins) = (self.conf().display().to_string(), self.plugins.display().to_string());
        ["--network", "cni", "--cni-conf-dir", &conf, "--cni-bin-dir", &plugins].map(str::to_owned)
    }

    /// Runs the plugins alone, one after the other, for an empty network namespace: what any runtime has to wait for.
    ///
    /// # Errors
    /// A plugin is missing or failed.
    pub fn alone(&self) -> Result<Took> {
        let namespace = isolated::run(&[Kind::Network], isolated::network)??;
        let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
        let begin = Instant::now();
        let mut result = Value::Null;
        for plugin in self.chain() {
            result = self.call(plugin, "ADD", &path, &result)?;
        }
        let add = begin.elapsed();
        let begin = Instant::now();
        for plugin in self.chain().into_iter().rev() {
            self.call(plugin, "DEL", &path, &result)?;
        }
        Ok(Took { add, del: begin.elapsed() })
    }

    fn conf(&self) -> PathBuf {
        self.dir.path().join("net.d")
    }

    fn chain(&self) -> [Value; 2] {
        let leases = self.dir.path().join("leases");
        [
            json!({
                "type": "bridge", "bridge": self.bridge, "isGateway": true, "ipMasq": true,
                "ipam": {
                    "type": "host-local", "dataDir": leases,
                    "ranges": [[{ "subnet": "10.117.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }],
                },
            }),
            json!({ "type": "portmap", "capabilities": { "portMappings": true } }),
        ]
    }

    fn call(&self, mut plugin: Value, command: &str, namespace: &str, result: &Value) -> Result<Value> {
        let kind = plugin["type"].as_str().unwrap_or_default().to_owned();
        plugin["cniVersion"] = VERSION.into();
        plugin["name"] = self.bridge.as_str().into();
        if !result.is_null() {
            plugin["prevResult"] = result.clone();
        }
        let what = format!("run {command} of the plugin {kind}");
        let mut child = Command::new(self.plugins.join(&kind))
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", "alone")
            .env("CNI_NETNS", namespace)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.plugins)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io(what.clone()))?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(plugin.to_string().as_bytes()).map_err(Error::io(what.clone()))?;
        }
        let output = child.wait_with_output().map_err(Error::io(what.clone()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(Error::Other(format!("{what}: {}: {text}", output.status)));
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|e| Error::Other(format!("{what}: {e}: {text}")))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Without a pod ever made there is none.
        Command::new("ip").args(["link", "del", &self.bridge]).stderr(Stdio::null()).status().ok();
    }
}
