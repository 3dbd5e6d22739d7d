//! Users, capabilities, profiles and devices.

use std::path::Path;

use anyhow::{Context, bail};
use berth_cdi::Name;
use berth_pod::plan::ExtraDevice;
use serde_json::{Map, Value, json};

use super::{Run, pair};

impl Run {
    pub(super) fn security(&self) -> anyhow::Result<Value> {
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
        for option in &self.security_opt {
            add_option(&mut context, option).with_context(|| format!("--security-opt {option:?}"))?;
        }
        Ok(context)
    }

    /// Of the pod as a whole: groups and sysctls.
    pub(super) fn pod_security(&self) -> anyhow::Result<Value> {
        let mut groups = Vec::new();
        for group in &self.group_add {
            let number: Option<u32> = group.parse().ok();
            groups.push(number.with_context(|| {
                format!("--group-add {group:?}: only numbers are supported (hint: the number is in the image's /etc/group)")
            })?);
        }
        let sysctl = |text: &String| {
            pair(text, "--sysctl").map(|(name, value)| json!({ "name": name, "value": value }))
        };
        let sysctls = self.sysctl.iter().map(sysctl).collect::<anyhow::Result<Vec<_>>>()?;
        let mut context = Map::new();
        if !groups.is_empty() {
            context.insert("supplementalGroups".to_owned(), json!(groups));
        }
        if !sysctls.is_empty() {
            context.insert("sysctls".to_owned(), json!(sysctls));
        }
        Ok(Value::Object(context))
    }

    pub(super) fn devices(&self) -> anyhow::Result<Vec<ExtraDevice>> {
        let paths = self.device.iter().filter(|text| !Name::is_meant(text));
        paths.map(|text| device(text).with_context(|| format!("--device {text:?}"))).collect()
    }

    /// Devices by the Container Device Interface.
    pub(super) fn cdi_devices(&self) -> Vec<String> {
        self.device.iter().filter(|text| Name::is_meant(text)).cloned().collect()
    }
}

fn add_option(context: &mut Value, option: &str) -> anyhow::Result<()> {
    // docker took a colon before it took the equals sign.
    let (name, value) = option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option, ""));
    match (name, value) {
        ("no-new-privileges", "" | "true") => context["allowPrivilegeEscalation"] = json!(false),
        ("no-new-privileges", "false") => {}
        ("seccomp", "unconfined") => context["seccompProfile"] = json!({ "type": "Unconfined" }),
        ("seccomp", "" | "builtin") => {}
        ("seccomp", file) => {
            let path = std::path::absolute(file)?;
            context["seccompProfile"] = json!({ "type": "Localhost", "localhostProfile": path });
        }
        ("apparmor", "unconfined") => context["appArmorProfile"] = json!({ "type": "Unconfined" }),
        ("apparmor", profile) if !profile.is_empty() => {
            context["appArmorProfile"] = json!({ "type": "Localhost", "localhostProfile": profile });
        }
        ("label", _) => bail!("SELinux labels are not supported (hint: leave it out: none is set)"),
        ("systempaths" | "unmask" | "mask" | "proc-opts", _) => bail!(
            "not supported: the paths that are hidden are fixed (hint: --privileged shows them, or procMount: Unmasked of a manifest)"
        ),
        _ => bail!("expected no-new-privileges, seccomp=unconfined|FILE or apparmor=unconfined|PROFILE"),
    }
    Ok(())
}

/// `PATH`, `PATH:PATH`, `PATH:rwm` or `PATH:PATH:rwm`.
fn device(text: &str) -> anyhow::Result<ExtraDevice> {
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|b| b"rwm".contains(&b));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, rights] if letters(rights) => (*host, *host, *rights),
        [host, container] => (*host, *container, "rwm"),
        [host, container, rights] if letters(rights) => (*host, *container, *rights),
        _ => bail!("expected PATH, PATH:PATH or PATH:PATH:rwm"),
    };
    if !Path::new(host).is_absolute() {
        bail!(
            "{host:?} is not a path of this machine (hint: devices by the Container Device Interface are vendor.com/class=device)"
        );
    }
    let path = |text: &str| text.to_owned();
    Ok(ExtraDevice { host: path(host), container: path(container), permissions: path(permissions) })
}

/// `UID` or `UID:GID`.
pub(super) fn numbers(user: &str) -> Option<(u32, Option<u32>)> {
    match user.split_once(':') {
        Some((uid, gid)) => Some((uid.parse().ok()?, Some(gid.parse().ok()?))),
        None => Some((user.parse().ok()?, None)),
    }
}
