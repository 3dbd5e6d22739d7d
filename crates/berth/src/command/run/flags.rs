//! The flags of `berth run`, and the pod manifest that they mean.

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::super::environment;
use berth_pod::plan::USER;

/// `berth run`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  berth run --rm -it docker.io/library/busybox sh
  berth run -d --name web -p 8080:80 docker.io/library/nginx
  berth run --rm -v .:/src:ro -w /src docker.io/library/busybox ls

Ctrl-C stops the container, once more kills it. Private images: docker login or podman login first.
Exit status: the container's own; 125 when Berth failed, 126 or 127 when the command cannot be executed.")]
pub(crate) struct Run {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Remove the container when it ends
    #[arg(long = "rm")]
    pub(super) remove: bool,
    /// Name of the pod and the container [default: generated]
    #[arg(long)]
    name: Option<String>,
    /// Environment variable; without a value it is taken from here; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// File or directory of this machine in the container; repeatable
    #[arg(short, long, value_name = "PATH:PATH[:ro]")]
    volume: Vec<String>,
    /// Port of this machine that leads to the container; repeatable
    #[arg(short, long, value_name = "[IP:]PORT:PORT[/udp]")]
    publish: Vec<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Replaces the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// User, and group, to run as, by number or by a name in the image
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Host name in the container
    #[arg(long)]
    hostname: Option<String>,
    /// Network: an address of its own, or this machine's
    #[arg(long, alias = "net", value_enum, default_value_t = Net::Pod)]
    network: Net,
    /// Memory limit, as 64Mi or 1g
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// CPUs, as 0.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Read-only root file system
    #[arg(long)]
    read_only: bool,
    /// Capability to add, or ALL; repeatable
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Capability to drop, or ALL; repeatable
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// All capabilities, all devices, no seccomp filter and no AppArmor profile
    #[arg(long)]
    privileged: bool,
    /// Handler that runs the container, such as runc or runsc; berth info lists them [default: the daemon's]
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// Label of the pod; repeatable
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// When the container is run again after it ended
    #[arg(long, value_enum, default_value_t = Restart::No)]
    restart: Restart,
    /// When the image is pulled [default: missing]
    #[arg(long, value_enum)]
    pub(super) pull: Option<Pull>,
    /// No progress of pulls
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// The image
    image: String,
    /// The command and its arguments [default: the image's]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Net {
    #[value(alias = "bridge")]
    Pod,
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Restart {
    No,
    OnFailure,
    // Nothing that was stopped is started again here, by no policy.
    #[value(alias = "unless-stopped")]
    Always,
}

/// When the image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    // Even when it is there.
    Always,
    Missing,
    Never,
}

impl Pull {
    /// The value as the daemon takes it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Missing => "missing",
            Self::Never => "never",
        }
    }
}

impl Run {
    /// The name given, or one made of the image's and a few random digits.
    pub(super) fn pod_name(&self) -> anyhow::Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let last = self.image.rsplit('/').next().unwrap_or_default();
        let base: String = last
            .split([':', '@'])
            .next()
            .unwrap_or_default()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(40)
            .collect();
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("generate a name")?;
        let base = base.trim_matches('-');
        let base = if base.is_empty() { "container" } else { base };
        Ok(format!("{base}-{}", random.get(..5).unwrap_or("0")))
    }

    /// The pod manifest that the flags mean.
    pub(super) fn manifest(&self, name: &str) -> anyhow::Result<Value> {
        if self.remove && self.restart != Restart::No {
            bail!("--rm and --restart cannot be combined");
        }
        if self.detach && self.interactive && !self.tty {
            bail!(
                "-d and -i need -t: without a terminal nothing can write to the container's stdin (hint: leave -i out)"
            );
        }
        let (volumes, mounts) = self.volumes()?;
        let (command, args) = match &self.entrypoint {
            Some(entrypoint) => (vec![entrypoint.clone()], self.command.clone()),
            None => (Vec::new(), self.command.clone()),
        };
        let mut container = json!({
            "name": name, "image": self.image, "command": command, "args": escaped(&args),
            "env": self.envs()?, "ports": self.ports()?, "volumeMounts": mounts, "resources": self.resources()?,
            "securityContext": self.security(), "stdin": self.interactive, "stdinOnce": self.interactive, "tty": self.tty,
        });
        if let Some(dir) = &self.workdir {
            container["workingDir"] = json!(dir);
        }
        let mut spec = json!({
            "containers": [container], "volumes": volumes, "hostNetwork": self.network == Net::Host,
            "terminationGracePeriodSeconds": 10,
            "restartPolicy": match self.restart { Restart::No => "Never", Restart::OnFailure => "OnFailure", Restart::Always => "Always" },
        });
        if let Some(hostname) = &self.hostname {
            spec["hostname"] = json!(hostname);
        }
        if let Some(runtime) = &self.runtime {
            spec["runtimeClassName"] = json!(runtime);
        }
        let labels =
            self.label.iter().map(|text| pair(text, "--label")).collect::<anyhow::Result<Map<_, _>>>()?;
        Ok(
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": labels, "annotations": self.annotations() }, "spec": spec }),
        )
    }

    fn envs(&self) -> anyhow::Result<Vec<Value>> {
        let all = environment(&self.env)?.into_iter();
        Ok(all.map(|(name, value)| json!({ "name": name, "value": value.replace('$', "$$") })).collect())
    }

    fn volumes(&self) -> anyhow::Result<(Vec<Value>, Vec<Value>)> {
        let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
        for (index, text) in self.volume.iter().enumerate() {
            let parts: Vec<&str> = text.split(':').collect();
            let (host, inside, options) = match parts.as_slice() {
                [host, inside] => (*host, *inside, ""),
                [host, inside, options] => (*host, *inside, *options),
                _ => bail!("invalid --volume {text:?}: expected PATH:PATH or PATH:PATH:ro"),
            };
            if !host.starts_with(['/', '.']) {
                bail!(
                    "--volume {text:?}: named volumes are not supported yet (hint: give a directory, such as /srv/{host}:{inside})"
                );
            }
            let read_only = match options {
                "" | "rw" => false,
                "ro" => true,
                other => bail!("--volume {text:?}: {other:?} is not ro or rw"),
            };
            let host = std::path::absolute(host).with_context(|| format!("--volume {text:?}"))?;
            let kind = if host.exists() { "" } else { "DirectoryOrCreate" };
            let name = format!("v{index}");
            volumes.push(json!({ "name": name, "hostPath": { "path": host, "type": kind } }));
            mounts.push(json!({ "name": name, "mountPath": inside, "readOnly": read_only }));
        }
        Ok((volumes, mounts))
    }

    fn ports(&self) -> anyhow::Result<Vec<Value>> {
        self.publish.iter().map(|text| port(text).with_context(|| format!("--publish {text:?}"))).collect()
    }

    fn resources(&self) -> anyhow::Result<Value> {
        let mut limits = Map::new();
        if let Some(memory) = &self.memory {
            limits.insert("memory".to_owned(), json!(quantity(memory)));
        }
        if let Some(cpus) = &self.cpus {
            limits.insert("cpu".to_owned(), json!(cpus));
        }
        Ok(json!({ "limits": limits }))
    }

    fn security(&self) -> Value {
        let mut context = json!({
            "privileged": self.privileged, "readOnlyRootFilesystem": self.read_only,
            "capabilities": { "add": self.cap_add, "drop": self.cap_drop },
        });
        if let Some((uid, gid)) = self.user.as_deref().and_then(numbers) {
            context["runAsUser"] = json!(uid);
            if let Some(gid) = gid {
                context["runAsGroup"] = json!(gid);
            }
        }
        context
    }

    /// A user whose number only the image knows.
    fn annotations(&self) -> Map<String, Value> {
        let named = self.user.iter().filter(|user| numbers(user).is_none());
        named.map(|user| (USER.to_owned(), json!(user))).collect()
    }
}

/// `UID` or `UID:GID`.
fn numbers(user: &str) -> Option<(u32, Option<u32>)> {
    match user.split_once(':') {
        Some((uid, gid)) => Some((uid.parse().ok()?, Some(gid.parse().ok()?))),
        None => Some((user.parse().ok()?, None)),
    }
}

/// On the command line a dollar is a dollar.
fn escaped(args: &[String]) -> Vec<String> {
    args.iter().map(|arg| arg.replace('$', "$$")).collect()
}

fn pair(text: &str, flag: &str) -> anyhow::Result<(String, Value)> {
    let (key, value) =
        text.split_once('=').with_context(|| format!("invalid {flag} {text:?}: expected KEY=VALUE"))?;
    Ok((key.to_owned(), json!(value)))
}

/// A size as docker counts it: `64m`, `64M`, `64MB` and `64MiB` are all 64 times 1024 times 1024.
fn quantity(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => "",
        "k" | "kb" | "ki" | "kib" => "Ki",
        "m" | "mb" | "mi" | "mib" => "Mi",
        "g" | "gb" | "gi" | "gib" => "Gi",
        "t" | "tb" | "ti" | "tib" => "Ti",
        // Refused unchanged.
        _ => suffix,
    };
    format!("{number}{unit}")
}

/// `[IP:]PORT:PORT[/PROTOCOL]`, with the IP of version 6 in brackets.
fn port(text: &str) -> anyhow::Result<Value> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_uppercase();
    if !matches!(protocol.as_str(), "TCP" | "UDP" | "SCTP") {
        bail!("{protocol:?} is not tcp, udp or sctp");
    }
    let needed = "expected [IP:]PORT:PORT";
    let (rest, inside) = ports.rsplit_once(':').context(needed)?;
    let (ip, outside) = match rest.rsplit_once(':') {
        Some((ip, outside)) => (Some(ip.trim_start_matches('[').trim_end_matches(']')), outside),
        None => (None, rest),
    };
    let number = |port: &str| {
        port.parse::<u16>().ok().filter(|p| *p != 0).with_context(|| format!("{port:?} is not a port"))
    };
    let mut value =
        json!({ "containerPort": number(inside)?, "hostPort": number(outside)?, "protocol": protocol });
    if let Some(ip) = ip {
        let ip: std::net::IpAddr = ip.parse().with_context(|| format!("{ip:?} is not an address"))?;
        value["hostIP"] = json!(ip);
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
