//! The pod manifest that the flags mean.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use berth_pod::plan::{Extras, NamedVolume, RUN, USER};
use serde_json::{Map, Value, json};

use super::super::super::{environment, environment_files};
use super::{Net, Restart, Run, Users, host_name, pair};

/// Seconds between the stop signal and the kill, as docker has them.
const GRACE: u64 = 10;

impl Run {
    /// The pod manifest that the flags mean.
    pub(in super::super) fn manifest(&self, name: &str) -> anyhow::Result<Value> {
        self.check()?;
        let volumes = self.volumes()?;
        let (command, args) = self.words()?;
        let mut container = json!({
            "name": name, "image": self.image(), "command": escaped(&command), "args": escaped(&args),
            "env": self.envs()?, "ports": self.ports()?, "volumeMounts": volumes.mounts,
            "resources": self.resources()?, "securityContext": self.security()?,
            "stdin": self.interactive, "stdinOnce": self.interactive, "tty": self.tty,
        });
        if let Some(dir) = &self.workdir {
            container["workingDir"] = json!(dir);
        }
        if let Some(signal) = &self.stop_signal {
            container["lifecycle"] = json!({ "stopSignal": stop_signal(signal) });
        }
        if let Some(probe) = self.health()? {
            container["readinessProbe"] = probe;
        }
        let mut spec = json!({
            "containers": [container], "volumes": volumes.volumes, "hostNetwork": self.network == Net::Host,
            "hostPID": of_host(self.pid.as_deref(), "--pid")?, "hostIPC": of_host(self.ipc.as_deref(), "--ipc")?,
            "shareProcessNamespace": self.init, "hostUsers": self.userns != Some(Users::Auto),
            "terminationGracePeriodSeconds": self.stop_timeout.unwrap_or(GRACE),
            "restartPolicy": self.restart.word(), "securityContext": self.pod_security()?,
            "hostAliases": self.aliases()?, "dnsConfig": self.dns_config(),
        });
        if !self.dns.is_empty() {
            spec["dnsPolicy"] = json!("None");
        }
        if let Some(seconds) = self.timeout.filter(|seconds| *seconds > 0) {
            spec["activeDeadlineSeconds"] = json!(seconds);
        }
        if let Some(hostname) = self.hostname_of(name) {
            spec["hostname"] = json!(hostname);
        }
        if let Some(runtime) = &self.runtime {
            spec["runtimeClassName"] = json!(runtime);
        }
        let labels = pairs(&self.label, "--label")?;
        let metadata =
            json!({ "name": name, "labels": labels, "annotations": self.annotations(volumes.named)? });
        Ok(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }))
    }

    /// What cannot be combined.
    fn check(&self) -> anyhow::Result<()> {
        if self.remove && self.restart != Restart::No {
            bail!("--rm and --restart cannot be combined");
        }
        if self.detach && self.interactive && !self.tty {
            bail!(
                "-d and -i need -t: without a terminal nothing can write to the container's stdin (hint: leave -i out)"
            );
        }
        if self.network == Net::None && !self.publish.is_empty() {
            bail!("--publish and --network none cannot be combined: nothing would lead to the container");
        }
        if self.init && self.pid.is_some() {
            bail!("--init and --pid cannot be combined: the first process is then this machine's");
        }
        Ok(())
    }

    /// The command and its arguments, as a manifest has them: what is empty is the image's.
    fn words(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let given = self.command().to_vec();
        match self.entrypoint.as_deref() {
            None => Ok((Vec::new(), given)),
            Some("") if given.is_empty() => {
                bail!("--entrypoint \"\" leaves nothing to run (hint: give a command after the image)")
            }
            // What a manifest calls the command takes the place of both.
            Some("") => Ok((given, Vec::new())),
            Some(list) if list.starts_with('[') => {
                let words: Vec<String> = serde_json::from_str(list)
                    .with_context(|| format!("--entrypoint {list:?}: expected a JSON array of strings"))?;
                Ok((words, given))
            }
            Some(word) => Ok((vec![word.to_owned()], given)),
        }
    }

    fn hostname_of(&self, name: &str) -> Option<String> {
        if self.hostname.is_some() || self.network == Net::Host {
            return self.hostname.clone();
        }
        // A name of docker's may have characters that no host name has.
        let host = host_name(name, 63);
        (host != name).then_some(if host.is_empty() { "container".to_owned() } else { host })
    }

    fn envs(&self) -> anyhow::Result<Vec<Value>> {
        let mut all = environment_files(&self.env_file)?;
        all.extend(environment(&self.env)?);
        let env =
            |(name, value): (String, String)| json!({ "name": name, "value": value.replace('$', "$$") });
        Ok(all.into_iter().map(env).collect())
    }

    fn aliases(&self) -> anyhow::Result<Vec<Value>> {
        let alias = |text: &String| {
            let wrong = || format!("invalid --add-host {text:?}: expected NAME:IP");
            let (name, ip) = text.split_once('=').or_else(|| text.split_once(':')).with_context(wrong)?;
            if ip == "host-gateway" {
                bail!(
                    "--add-host {text:?}: there is no host-gateway (hint: use an address of this machine, such as that of the bridge in ip address)"
                );
            }
            let ip: std::net::IpAddr =
                ip.trim_start_matches('[').trim_end_matches(']').parse().with_context(wrong)?;
            Ok(json!({ "ip": ip, "hostnames": [name] }))
        };
        self.add_host.iter().map(alias).collect()
    }

    fn dns_config(&self) -> Value {
        let option = |text: &String| match text.split_once(':') {
            Some((name, value)) => json!({ "name": name, "value": value }),
            None => json!({ "name": text }),
        };
        // A dot alone is docker's word for no domains.
        let searches: Vec<_> = self.dns_search.iter().filter(|domain| *domain != ".").collect();
        let options: Vec<_> = self.dns_option.iter().map(option).collect();
        json!({ "nameservers": self.dns, "searches": searches, "options": options })
    }

    /// What no field says: a user whose number only the image knows, and more.
    fn annotations(&self, volumes: BTreeMap<String, NamedVolume>) -> anyhow::Result<Map<String, Value>> {
        let mut all = pairs(&self.annotation, "--annotation")?;
        let named = self.user.iter().filter(|user| super::security::numbers(user).is_none());
        all.extend(named.map(|user| (USER.to_owned(), json!(user))));
        let extras = Extras {
            no_network: self.network == Net::None,
            max_restarts: match self.restart {
                Restart::OnFailure(most) => most.filter(|most| *most > 0),
                Restart::No | Restart::Always => None,
            },
            devices: self.devices()?,
            cdi_devices: self.cdi_devices(),
            volumes,
            ..self.limits()?
        };
        all.insert(RUN.to_owned(), json!(serde_json::to_string(&extras)?));
        Ok(all)
    }
}

impl Restart {
    fn word(self) -> &'static str {
        match self {
            Self::No => "Never",
            Self::OnFailure(_) => "OnFailure",
            Self::Always => "Always",
        }
    }
}

fn pairs(given: &[String], flag: &str) -> anyhow::Result<Map<String, Value>> {
    given.iter().map(|text| pair(text, flag).map(|(key, value)| (key.to_owned(), json!(value)))).collect()
}

/// Whether the namespaces are the host's.
fn of_host(given: Option<&str>, flag: &str) -> anyhow::Result<bool> {
    match given {
        None | Some("" | "private") => Ok(false),
        Some("host") => Ok(true),
        Some(other) => bail!(
            "{flag} {other:?} is not supported: only host is (hint: containers that share it are one pod: write a manifest for berth play)"
        ),
    }
}

/// As a manifest has it: `TERM`, `term` and `SIGTERM` are the same.
fn stop_signal(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    if upper.starts_with("SIG") || upper.bytes().all(|b| b.is_ascii_digit()) {
        upper
    } else {
        format!("SIG{upper}")
    }
}

/// On the command line a dollar is a dollar.
fn escaped(args: &[String]) -> Vec<String> {
    args.iter().map(|arg| arg.replace('$', "$$")).collect()
}
