//! `features`: what this runtime can do, as the runtime specification's features.md has it.

use berth_container::plan::capability_names;
use serde_json::json;

use super::print;
use crate::OciError;

/// The newest version of the runtime specification that is known.
pub(super) const SPEC_MAX: &str = "1.3.0";

pub(super) fn features() -> Result<(), OciError> {
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_MAX,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": berth_container::plan::mount_options(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capability_names(u64::MAX),
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false },
            "seccomp": {
                "enabled": berth_container::seccomp::Arch::native().is_some(),
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "knownFlags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
                "supportedFlags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": false }
        },
        "annotations": { "io.berth.oci.version": env!("CARGO_PKG_VERSION") }
    });
    let text = serde_json::to_string_pretty(&features).map_err(|e| OciError::invalid("the features", e))?;
    print(&(text + "\n"))
}
