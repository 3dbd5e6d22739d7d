//! Views for tests.

use std::sync::Arc;

use berth_engine::model::{ContainerUser, ContainerView, Resources, SandboxConfig, SandboxView};
use berth_types::lifecycle::{container, sandbox};

use crate::{api, convert};

fn config() -> SandboxConfig {
    let asked = api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata { name: "p".into(), ..Default::default() }),
        ..Default::default()
    };
    convert::sandbox::from_api(&asked, "").unwrap()
}

/// A container that runs with this process.
pub(crate) fn container(pid: Option<i32>) -> Arc<ContainerView> {
    let asked = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(api::ImageSpec { image: "sha256:0".into(), ..Default::default() }),
        ..Default::default()
    };
    Arc::new(ContainerView {
        id: "c".repeat(64).parse().unwrap(),
        sandbox: "d".repeat(64).parse().unwrap(),
        config: Arc::new(convert::container::from_api(&asked, &config().namespaces).unwrap()),
        state: container::State::Running,
        created_at: 1,
        started_at: Some(2),
        exit: None,
        pid,
        cgroup: "g".into(),
        image_id: String::new(),
        image_ref: String::new(),
        log_path: None,
        resources: Resources::default(),
        user: ContainerUser::default(),
        stop_signal: "SIGTERM".into(),
    })
}

/// A sandbox that is ready.
pub(crate) fn sandbox(containers: Vec<Arc<ContainerView>>) -> SandboxView {
    SandboxView {
        id: "d".repeat(64).parse().unwrap(),
        config: Arc::new(config()),
        state: sandbox::State::Ready,
        created_at: 1,
        interface: Some("eth0".into()),
        addresses: Vec::new(),
        netns: Some("/state/pods/d/netns".into()),
        cgroup: "g".into(),
        shim_pid: Some(77),
        message: String::new(),
        containers,
    }
}
