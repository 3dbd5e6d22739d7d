//! What the runtime is, and whether it can work.

use std::collections::BTreeMap;

use berth_engine::model::Owner;
use berth_engine::seams::Driver;
use berth_engine::{Confinement, Engine, HandlerFeatures, HandlerState, HandlerStatus};
use tonic::Status;

use crate::api;
use crate::error::status as to_status;

/// The name by which kubelets prefix container ids; constant forever.
const NAME: &str = "berth";

/// Version
pub(super) async fn version(_: &Engine, _: api::VersionRequest) -> Result<api::VersionResponse, Status> {
    Ok(api::VersionResponse {
        version: "0.1.0".into(), // of the kubelet's own runtime API, as every runtime answers
        runtime_name: NAME.into(),
        runtime_version: env!("CARGO_PKG_VERSION").into(),
        runtime_api_version: "v1".into(),
    })
}

/// Status: fast, since a kubelet asks every few seconds.
pub(super) async fn status(
    engine: &Engine,
    request: api::StatusRequest,
) -> Result<api::StatusResponse, Status> {
    let network = engine.network_status(Owner::Cri);
    let mut conditions = vec![
        api::RuntimeCondition { r#type: "RuntimeReady".into(), status: true, ..Default::default() },
        api::RuntimeCondition {
            r#type: "NetworkReady".into(),
            status: network.ready,
            reason: network.reason,
            message: network.message,
        },
    ];
    conditions.extend(engine.confinements().into_iter().map(confined));
    Ok(api::StatusResponse {
        status: Some(api::RuntimeStatus { conditions }),
        info: if request.verbose { info(engine) } else { BTreeMap::new() },
        runtime_handlers: handlers(&engine.handlers().await),
        features: Some(api::RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: true,
            mount_options: true,
        }),
    })
}

/// The default by its empty name, and every handler that can be used: a kubelet reads the features of the pod's.
fn handlers(known: &[HandlerStatus]) -> Vec<api::RuntimeHandler> {
    let told = |name: &str, of: HandlerFeatures| api::RuntimeHandler {
        name: name.to_owned(),
        features: Some(api::RuntimeHandlerFeatures {
            recursive_read_only_mounts: of.recursive_read_only,
            user_namespaces: of.user_namespaces,
        }),
    };
    let default = known.iter().find(|one| one.is_default).map(|one| one.features).unwrap_or_default();
    let ready = known.iter().filter(|one| one.state == HandlerState::Ready);
    std::iter::once(told("", default)).chain(ready.map(|one| told(&one.name, one.features))).collect()
}

/// A further condition for each security module that is in force. A kubelet ignores it, users see it.
fn confined(of: Confinement) -> api::RuntimeCondition {
    api::RuntimeCondition {
        r#type: format!("{}Confined", of.module),
        status: of.confined,
        reason: of.reason.into(),
        message: of.message,
    }
}

fn info(engine: &Engine) -> BTreeMap<String, String> {
    let config = engine.config();
    let text = serde_json::json!({
        "instance": config.instance,
        "root": config.root,
        "state": config.state,
        "cgroupRoot": engine.cgroup_root(),
        "cgroupDriver": engine.cgroup_driver().name(),
        "network": format!("{:?}", config.cri_network).to_lowercase(),
    });
    BTreeMap::from([("config".to_owned(), text.to_string())])
}

/// RuntimeConfig: a kubelet asks once, when it starts. The engine knows before there is a socket to ask on.
pub(super) async fn runtime_config(
    engine: &Engine,
    _: api::RuntimeConfigRequest,
) -> Result<api::RuntimeConfigResponse, Status> {
    let driver = match engine.cgroup_driver() {
        Driver::Cgroupfs => api::CgroupDriver::Cgroupfs,
        Driver::Systemd => api::CgroupDriver::Systemd,
    };
    Ok(api::RuntimeConfigResponse {
        linux: Some(api::LinuxRuntimeConfiguration { cgroup_driver: driver as i32 }),
    })
}

/// UpdateRuntimeConfig: a pod CIDR, or one of each family with a comma between, is for CNI plugins that ask for it.
pub(super) async fn update_runtime_config(
    engine: &Engine,
    request: api::UpdateRuntimeConfigRequest,
) -> Result<api::UpdateRuntimeConfigResponse, Status> {
    let cidr = request.runtime_config.and_then(|c| c.network_config).map(|n| n.pod_cidr).unwrap_or_default();
    let blocks: Vec<&str> = cidr.split(',').map(str::trim).filter(|block| !block.is_empty()).collect();
    engine.set_pod_blocks(Owner::Cri, &blocks).await.map_err(|e| to_status(&e))?;
    Ok(api::UpdateRuntimeConfigResponse {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_that_can_be_used_are_told_and_the_default_by_its_empty_name() {
        let features =
            HandlerFeatures { recursive_read_only: true, user_namespaces: true, checkpoint: false };
        let one = |name: &str, is_default, state, features| HandlerStatus {
            name: name.to_owned(),
            kind: "oci",
            is_default,
            program: None,
            version: String::new(),
            state,
            features,
        };
        let rro = HandlerFeatures { recursive_read_only: true, ..HandlerFeatures::default() };
        let none = HandlerFeatures::default();
        let known = [
            one("native", false, HandlerState::Ready, features),
            one("crun", false, HandlerState::Unusable("why".to_owned()), none),
            one("runc", true, HandlerState::Ready, rro),
            one("runsc", false, HandlerState::Missing("where".to_owned()), none),
            one("slow", false, HandlerState::Checking, none),
        ];
        let told: Vec<_> = handlers(&known)
            .into_iter()
            .map(|one| {
                let of = one.features.unwrap();
                (one.name, of.recursive_read_only_mounts, of.user_namespaces)
            })
            .collect();
        let want = [("", true, false), ("native", true, true), ("runc", true, false)];
        assert_eq!(told, want.map(|(name, rro, user)| (name.to_owned(), rro, user)));
    }

    #[test]
    fn a_module_in_force_is_a_condition() {
        for status in [false, true] {
            let module = "AppArmor";
            let of = Confinement { module, confined: status, reason: "Reason", message: "why".to_owned() };
            let condition = confined(of);
            assert_eq!((condition.r#type.as_str(), condition.status), ("AppArmorConfined", status));
            assert_eq!((condition.reason.as_str(), condition.message.as_str()), ("Reason", "why"));
        }
    }
}
