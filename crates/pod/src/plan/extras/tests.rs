use berth_engine::model::Network;

use super::super::tests::planned;
use super::*;

fn pod(name: &str, text: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  annotations: {{berth.dev/run: '{text}'}}\nspec: {{containers: [{{name: {name}, image: a}}]}}"
    )
}

fn plan(text: &str) -> Result<Plan, String> {
    let pod = crate::manifest::parse(text.as_bytes()).map_err(|e| e.to_string())?.remove(0);
    super::super::plan(&pod, &super::super::tests::place()).map_err(|e| e.to_string())
}

#[test]
fn the_settings_reach_the_container() {
    let extras = Extras {
        no_network: true,
        max_restarts: Some(3),
        devices: vec![ExtraDevice {
            host: "/dev/a".into(),
            container: "/dev/b".into(),
            permissions: "r".into(),
        }],
        cdi_devices: vec!["vendor.com/gpu=0".into()],
        pids_limit: Some(9),
        cpuset_cpus: "0-1".into(),
        cpuset_mems: "0".into(),
        cpu_shares: Some(512),
        memory_swap: Some(-1),
        oom_score_adj: Some(500),
        ulimits: vec![Ulimit { kind: "nofile".into(), soft: 5, hard: -1 }],
        ..Extras::default()
    };
    let plan = plan(&pod("my_App.1", &serde_json::to_string(&extras).unwrap())).unwrap();
    assert_eq!((plan.sandbox.namespaces.network, plan.max_restarts), (Network::None, Some(3)));
    let config = &plan.main[0].config;
    assert_eq!(config.devices[0].host_path, std::path::Path::new("/dev/a"));
    assert_eq!(config.devices[0].container_path, std::path::Path::new("/dev/b"));
    assert_eq!(config.cdi_devices, ["vendor.com/gpu=0"]);
    let of = &config.resources;
    assert_eq!((of.pids_limit, of.cpuset_cpus.as_str(), of.cpuset_mems.as_str()), (Some(9), "0-1", "0"));
    assert_eq!((of.cpu_shares, of.memory_swap_limit, of.oom_score_adj), (Some(512), Some(-1), Some(500)));
    let limit = &config.rlimits[0];
    assert_eq!((limit.kind.as_str(), limit.soft, limit.hard), ("nofile", 5, u64::MAX));
}

#[test]
fn without_the_annotation_nothing_changes_and_names_are_those_of_kubernetes() {
    let plain = planned("{containers: [{name: a, image: b}]}");
    assert_eq!((plain.max_restarts, plain.sandbox.namespaces.network), (None, Network::Pod));
    let text = pod("my_app", "{}").replace("berth.dev/run", "other");
    assert!(plan(&text).unwrap_err().contains("Invalid value: \"my_app\""), "{:?}", plan(&text));
}

#[test]
fn what_is_not_known_is_refused() {
    let error = plan(&pod("a", r#"{"colour": "red"}"#)).unwrap_err();
    assert!(error.contains("metadata.annotations[berth.dev/run]") && error.contains("colour"), "{error}");
    for name in ["-a", "a/b", "ä", &"a".repeat(64)] {
        let error = plan(&pod(name, "{}")).unwrap_err();
        assert!(error.contains("is not a name"), "{name}: {error}");
    }
}
