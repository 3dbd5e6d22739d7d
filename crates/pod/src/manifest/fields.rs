//! Fields of `v1.Pod` that Berth does not support yet: known by name, so that a refusal can say so.

const LATER: &[&str] = &[
    // metadata
    "generateName",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
    "generation",
    "selfLink",
    // pod
    "status",
    "affinity",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "ephemeralContainers",
    "nodeName",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resourceClaims",
    "schedulerName",
    "schedulingGates",
    "serviceAccount",
    "serviceAccountName",
    "tolerations",
    "topologySpreadConstraints",
    "hostnameOverride",
    "workloadRef",
    // container
    "resizePolicy",
    "restartPolicyRules",
    "volumeDevices",
    "claims",
    "recursiveReadOnly",
    // claims
    "dataSource",
    "dataSourceRef",
    "volumeAttributesClassName",
    "volumeName",
    // services
    "externalIPs",
    "healthCheckNodePort",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    // workloads
    "backoffLimitPerIndex",
    "managedBy",
    "manualSelector",
    "maxFailedIndexes",
    "persistentVolumeClaimRetentionPolicy",
    "podFailurePolicy",
    "podReplacementPolicy",
    "successPolicy",
    "volumeClaimTemplates",
    // security
    "seLinuxOptions",
    "windowsOptions",
    "seLinuxChangePolicy",
    // volumes
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "ephemeral",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "serviceAccountToken",
    "clusterTrustBundle",
    "podCertificate",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// Whether Kubernetes has a field of this name where Berth has none.
pub(super) fn exists(name: &str) -> bool {
    LATER.contains(&name)
}

/// The field that was meant: one of those that the parser's message offers, except for case or a typing error.
pub(super) fn meant<'a>(name: &str, message: &'a str) -> Option<&'a str> {
    let known = message.split("expected ").nth(1)?.split('`').skip(1).step_by(2);
    let near = |known: &str| strsim::osa_distance(&known.to_lowercase(), &name.to_lowercase());
    known
        .map(|known| (near(known), known))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, known)| known)
}
