//! The kubelet's configuration.

use std::path::Path;

/// What differs from kubelet to kubelet of one node.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Feature gates that are switched on, beside those in `BERTH_KUBELET_GATES`, separated by commas.
    pub gates: &'static [&'static str],
    /// The disk counts as full: everything unused is removed, and no pod but critical ones may stay.
    pub full_disk: bool,
}

impl Settings {
    pub(super) fn document(&self, dir: &Path, endpoint: &str, cgroup: &str) -> String {
        let wanted = std::env::var("BERTH_KUBELET_GATES").unwrap_or_default();
        let wanted = wanted.split(',').filter(|gate| !gate.is_empty());
        let gates: Vec<_> =
            self.gates.iter().copied().chain(wanted).map(|gate| format!("{gate}: true")).collect();
        // 0% and 100% switch the threshold off.
        let left = if self.full_disk { "99%" } else { "0%" };
        format!(
            r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: {endpoint}
staticPodPath: {dir}/manifests
volumePluginDir: {dir}/plugins
cgroupRoot: /{cgroup}
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
address: 127.0.0.1
readOnlyPort: 10255
healthzPort: 0
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
serializeImagePulls: false
fileCheckFrequency: 1s
syncFrequency: 5s
crashLoopBackOff: {{maxContainerRestartPeriod: 2s}}
containerLogMaxSize: 32Ki
containerLogMaxFiles: 1000
containerLogMonitorInterval: 3s
imageGCHighThresholdPercent: 100
evictionPressureTransitionPeriod: 1s
evictionHard: {{imagefs.available: "{left}", nodefs.available: "0%", nodefs.inodesFree: "0%", memory.available: "0%"}}
featureGates: {{{gates}}}
"#,
            dir = dir.display(),
            gates = gates.join(", "),
        )
    }
}
