use std::collections::BTreeMap;

use berth_types::lifecycle::sandbox::State;
use berth_types::{Classify, Kind};

use super::*;
use crate::model::{
    NamespaceMode, Namespaces, Network, PidMode, Resources, SandboxConfig, SandboxMetadata, SandboxSecurity,
};

fn view(byte: u8, owner: Owner, created_at: i64, state: State) -> Arc<SandboxView> {
    let config = SandboxConfig {
        owner,
        metadata: SandboxMetadata {
            name: "n".into(),
            uid: String::new(),
            namespace: "d".into(),
            attempt: byte.into(),
        },
        hostname: String::new(),
        log_directory: None,
        dns: None,
        ports: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        handler: String::new(),
        cgroup_parent: None,
        namespaces: Namespaces {
            network: Network::None,
            pid: PidMode::Pod,
            ipc: NamespaceMode::Pod,
            user: None,
        },
        names: crate::model::Names::default(),
        sysctls: BTreeMap::new(),
        security: SandboxSecurity::default(),
        resources: Resources::default(),
    };
    Arc::new(SandboxView {
        id: SandboxId::from_random([byte; 32]),
        config: Arc::new(config),
        state,
        created_at,
        interface: None,
        addresses: Vec::new(),
        netns: None,
        cgroup: String::new(),
        shim_pid: None,
        message: String::new(),
        containers: Vec::new(),
    })
}

#[test]
fn lists_are_by_owner_and_newest_first() {
    let views = Views::new();
    views.put(&view(1, Owner::Cri, 10, State::Ready));
    views.put(&view(2, Owner::Local, 20, State::Ready));
    views.put(&view(3, Owner::Cri, 30, State::Ready));
    let made = |owner| views.sandboxes(owner).iter().map(|v| v.created_at).collect::<Vec<_>>();
    assert_eq!(made(None), [30, 20, 10]);
    assert_eq!(made(Some(Owner::Cri)), [30, 10]);
}

#[test]
fn the_beginning_of_an_id_is_enough_when_it_is_the_only_one() {
    let views = Views::new();
    views.put(&view(0xab, Owner::Cri, 1, State::Ready));
    views.put(&view(0xac, Owner::Cri, 2, State::Ready));
    assert_eq!(views.sandbox("ab").unwrap().created_at, 1);
    assert_eq!(views.sandbox(&"ac".repeat(32)).unwrap().created_at, 2);
    assert!(matches!(views.sandbox("a").unwrap_err(), EngineError::Ambiguous { .. }));
    for key in ["", "b", "not an id", "AB"] {
        assert_eq!(views.sandbox(key).unwrap_err().kind(), Kind::NotFound, "{key:?}");
    }
}

#[tokio::test]
async fn only_changes_are_sent_and_a_slow_watcher_is_notified_of_lost_events() {
    let views = Views::new();
    let mut events = views.watch();
    views.put(&view(1, Owner::Cri, 1, State::Ready));
    views.put(&view(1, Owner::Cri, 1, State::Ready));
    views.put(&view(1, Owner::Cri, 1, State::NotReady));
    views.remove(&SandboxId::from_random([1; 32]));
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(match events.next().await.unwrap().event {
            EngineEvent::Sandbox { now, before } => format!("{before:?} {:?}", now.state),
            EngineEvent::SandboxRemoved(_) => "removed".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(told, ["None Ready", "Some(Ready) NotReady", "removed"]);
    for number in 0..CAPACITY + 1 {
        let state = if number % 2 == 0 { State::Ready } else { State::NotReady };
        views.put(&view(1, Owner::Cri, 1, state));
    }
    assert!(matches!(events.next().await.unwrap().event, EngineEvent::Resync));
    assert!(matches!(events.next().await.unwrap().event, EngineEvent::Sandbox { .. }));
}
