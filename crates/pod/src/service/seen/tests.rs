use berth_engine::model::ContainerUser;
use berth_types::ContainerId;

use super::*;
use crate::manifest::parse_files;
use crate::plan::{Node, Place, plan};

/// A pod with these fields whose only container runs.
fn pod(fields: &str) -> Arc<SandboxView> {
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{{fields}, containers: [{{name: a, image: a.io/x}}]}}}}"
    );
    let pod = parse_files(&[("", text.as_bytes())]).unwrap().pods.remove(0);
    let place = Place {
        uid: "u".into(),
        dir: "/p".into(),
        claims: "/c".into(),
        addresses: Vec::new(),
        user: None,
        node: Node::default(),
        cluster: None,
        env_files: Default::default(),
    };
    let plan = plan(&pod, &place).unwrap();
    let id = SandboxId::from_random([0; 32]);
    let container = ContainerView {
        id: ContainerId::from_random([1; 32]),
        sandbox: id.clone(),
        config: Arc::new(plan.named("a").unwrap().config.clone()),
        state: container::State::Running,
        created_at: 0,
        started_at: Some(0),
        exit: None,
        pid: None,
        cgroup: String::new(),
        image_id: String::new(),
        image_ref: String::new(),
        log_path: None,
        resources: Default::default(),
        user: ContainerUser::default(),
        stop_signal: String::new(),
    };
    Arc::new(SandboxView {
        id,
        config: Arc::new(plan.sandbox.clone()),
        state: sandbox::State::Ready,
        created_at: 0,
        interface: None,
        addresses: vec!["10.208.0.2".parse().unwrap()],
        netns: None,
        cgroup: String::new(),
        shim_pid: None,
        message: String::new(),
        containers: vec![Arc::new(container)],
    })
}

#[test]
fn a_paused_pod_is_not_ready() {
    let (mut known, view) = (Known::default(), pod("hostname: h"));
    for paused in [false, true, false] {
        let said = Said { health: &|_| None, is_paused: &|_| paused };
        let pods = known.look(std::slice::from_ref(&view), &said, &[]);
        assert_eq!((pods[0].ready, pods[0].addresses.len(), known.of_host), (!paused, 1, false));
    }
}

#[test]
fn a_pod_of_the_hosts_network_has_its_addresses_of_now() {
    let (mut known, view) = (Known::default(), pod("hostNetwork: true"));
    let said = Said { health: &|_| None, is_paused: &|_| false };
    for address in ["192.0.2.7", "192.0.2.8"] {
        let host = [address.parse().unwrap()];
        assert_eq!(known.look(std::slice::from_ref(&view), &said, &host)[0].addresses, host);
        assert!(known.of_host);
    }
    known.look(&[], &said, &[]);
    assert!(!known.of_host);
}
