use super::*;
use crate::manifest::parse;

pub(super) fn place() -> Place {
    Place {
        uid: "u1".into(),
        dir: "/pods/u1".into(),
        claims: "/claims".into(),
        addresses: Vec::new(),
        user: None,
        node: Node::default(),
        cluster: None,
    }
}

pub(super) fn pod(spec: &str) -> Pod {
    let text =
        format!("{{apiVersion: v1, kind: Pod, metadata: {{name: web.x, labels: {{a: b}}}}, spec: {spec}}}");
    parse(text.as_bytes()).unwrap_or_else(|e| panic!("{spec}: {e}")).remove(0)
}

pub(super) fn planned(spec: &str) -> Plan {
    plan(&pod(spec), &place()).unwrap_or_else(|e| panic!("{spec}: {e}"))
}

pub(super) fn refused(spec: &str) -> String {
    plan(&pod(spec), &place()).expect_err(spec).to_string()
}

#[test]
fn the_smallest_pod() {
    let plan = planned("{containers: [{name: c, image: 'a.io/x:1'}]}");
    assert_eq!(plan.sandbox.metadata.namespace, "default");
    assert_eq!(plan.sandbox.hostname, "web.x");
    assert_eq!(plan.sandbox.labels["a"], "b");
    assert_eq!(plan.sandbox.labels["io.kubernetes.pod.uid"], "u1");
    assert!(plan.sandbox.annotations[MANIFEST].contains("\"web.x\""));
    assert_eq!(plan.restart, RestartPolicy::Always);
    assert_eq!(plan.grace, DEFAULT_GRACE);
    let c = &plan.main[0];
    assert_eq!(c.config.pid, PidMode::Container);
    assert_eq!(c.config.log_path.as_deref(), Some(Path::new("c/0.log")));
    assert_eq!(c.pull, PullPolicy::IfNotPresent);
    assert!(!c.config.security.masked_paths.is_empty());
}

#[test]
fn the_class_names_the_handler() {
    let spec = |class: &str| {
        format!("{{runtimeClassName: '{class}', containers: [{{name: c, image: 'a.io/x:1'}}]}}")
    };
    assert_eq!(planned(&spec("runsc")).sandbox.handler, "runsc");
    assert_eq!(planned("{containers: [{name: c, image: 'a.io/x:1'}]}").sandbox.handler, "");
    for class in ["", "A", "a/b", "a."] {
        assert!(refused(&spec(class)).contains("spec.runtimeClassName"), "{class:?}");
    }
}

#[test]
fn the_manifest_in_the_annotation_gives_the_same_plan() {
    let first = planned(
        "{restartPolicy: Never, containers: [{name: c, image: 'a.io/x:1', env: [{name: A, value: b}]}]}",
    );
    let again = parse(first.sandbox.annotations[MANIFEST].as_bytes()).unwrap().remove(0);
    assert_eq!(plan(&again, &place()).unwrap(), first);
}

#[test]
fn how_long_a_pod_may_run() {
    let spec = |more: &str| format!("{{{more}containers: [{{name: c, image: 'a.io/x:1'}}]}}");
    assert_eq!(planned(&spec("")).deadline, None);
    assert_eq!(planned(&spec("activeDeadlineSeconds: 60, ")).deadline, Some(Duration::from_secs(60)));
    for seconds in ["0", "-1", "2147483648"] {
        let said = refused(&spec(&format!("activeDeadlineSeconds: {seconds}, ")));
        assert!(said.contains("spec.activeDeadlineSeconds: Invalid value"), "{said}");
    }
}

#[test]
fn when_images_are_pulled() {
    for (image, policy) in [
        ("a.io/x", PullPolicy::Always),
        ("a.io/x:latest", PullPolicy::Always),
        ("a.io:5000/x", PullPolicy::Always),
        ("a.io/x:1", PullPolicy::IfNotPresent),
    ] {
        assert_eq!(
            planned(&format!("{{containers: [{{name: c, image: '{image}'}}]}}")).main[0].pull,
            policy,
            "{image}"
        );
    }
}

#[test]
fn resources_as_the_kubelet_converts_them() {
    let of = |resources: &str| {
        planned(&format!("{{containers: [{{name: c, image: 'a.io/x:1', resources: {resources}}}]}}")).main[0]
            .config
            .resources
            .clone()
    };
    let r = of("{limits: {cpu: 500m, memory: 64Mi}}");
    assert_eq!((r.cpu_shares, r.cpu_quota, r.cpu_period), (Some(512), Some(50_000), Some(100_000)));
    assert_eq!((r.memory_limit, r.memory_swap_limit), (Some(64 << 20), Some(64 << 20)));
    let r = of("{limits: {cpu: 1m}, requests: {cpu: 1m}}");
    assert_eq!((r.cpu_shares, r.cpu_quota), (Some(2), Some(1000)));
    assert_eq!(of("{requests: {cpu: 2}}").cpu_shares, Some(2048));
    assert_eq!(of("{}").cpu_quota, None);
    let limited = "resources: {limits: {ephemeral-storage: 1Gi}, requests: {ephemeral-storage: 1Mi}}";
    let limited = planned(&format!("{{containers: [{{name: c, image: 'a.io/x:1', {limited}}}]}}"));
    assert_eq!(limited.main[0].config.storage_limit, Some(1 << 30));
    let over =
        "{containers: [{name: c, image: 'a.io/x:1', resources: {limits: {cpu: 1}, requests: {cpu: 2}}}]}";
    assert!(refused(over).contains("resources.requests.cpu: it is above the limit"));
}

#[test]
fn volumes_and_mounts() {
    let plan = planned(
        "{volumes: [{name: e, emptyDir: {}}, {name: h, hostPath: {path: /srv, type: Directory}}],
          containers: [{name: c, image: 'a.io/x:1', volumeMounts: [{name: h, mountPath: /m, readOnly: true}]}]}",
    );
    assert_eq!(plan.volumes[0].path, Path::new("/pods/u1/volumes/e"));
    let mount = &plan.main[0].config.mounts[0];
    assert_eq!((mount.host_path.as_path(), mount.readonly), (Path::new("/srv"), true));
    let missing = "{containers: [{name: c, image: 'a.io/x:1', volumeMounts: [{name: nope, mountPath: /m}]}]}";
    assert!(refused(missing).contains("volumeMounts[0].name: the pod has no volume \"nope\""));
}

#[test]
fn ports_that_lead_into_the_pod() {
    let plan = planned(
        "{containers: [{name: c, image: 'a.io/x:1', ports: [{containerPort: 80, hostPort: 8080}, {containerPort: 81}]}]}",
    );
    assert_eq!(plan.sandbox.ports.len(), 1);
    let twice = "{containers: [{name: c, image: 'a.io/x:1', ports: [{containerPort: 1, hostPort: 9}, {containerPort: 2, hostPort: 9}]}]}";
    assert!(refused(twice).contains("duplicate 9"));
    let host = "{hostNetwork: true, containers: [{name: c, image: 'a.io/x:1', ports: [{containerPort: 1, hostPort: 9}]}]}";
    assert!(refused(host).contains("with hostNetwork"));
}

#[test]
fn apparmor_of_pod_and_container() {
    let of = |kind: &str| format!("{{type: {kind}}}");
    let planned_with = |pod: &str, own: &str| {
        planned(&format!(
            "{{securityContext: {{{pod}}}, containers: [{{name: a, image: 'a.io/x:1', securityContext: {{{own}}}}}]}}"
        ))
    };
    let got = |pod: &str, own: &str| planned_with(pod, own).main[0].config.security.apparmor.clone();
    let field = |profile: &str| format!("appArmorProfile: {profile}");
    assert_eq!(got("", ""), None);
    assert_eq!(got("", &field(&of("Unconfined"))).as_deref(), Some("unconfined"));
    assert_eq!(got(&field(&of("RuntimeDefault")), "").as_deref(), Some("runtime/default"));
    let named = field("{type: Localhost, localhostProfile: mine}");
    assert_eq!(got(&field(&of("Unconfined")), &named).as_deref(), Some("mine"));
    for wrong in ["{type: Localhost}", "{type: Unconfined, localhostProfile: mine}"] {
        let text = format!(
            "{{containers: [{{name: a, image: 'a.io/x:1', securityContext: {{appArmorProfile: {wrong}}}}}]}}"
        );
        assert!(refused(&text).contains("securityContext.appArmorProfile"), "{wrong}");
    }
}

#[test]
fn security_of_pod_and_container() {
    let plan = planned(
        "{securityContext: {runAsUser: 5, runAsNonRoot: true, supplementalGroups: [7]},
          containers: [{name: a, image: 'a.io/x:1'},
                       {name: b, image: 'a.io/x:1', securityContext: {runAsUser: 6, runAsGroup: 8, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true}},
                       {name: p, image: 'a.io/x:1', securityContext: {privileged: true}}]}",
    );
    let security = |i: usize| &plan.main[i].config.security;
    assert_eq!(security(0).user, Some(User::Id(5)));
    assert_eq!((security(1).user.clone(), security(1).group), (Some(User::Id(6)), Some(8)));
    assert!(plan.main[0].non_root && security(1).no_new_privs && security(1).readonly_rootfs);
    assert_eq!(security(0).seccomp, berth_engine::model::SeccompChoice::Default);
    assert_eq!(security(2).seccomp, berth_engine::model::SeccompChoice::Unconfined);
    assert!(security(2).masked_paths.is_empty());
}

use berth_engine::model::User;

#[test]
fn names_that_cannot_be() {
    for (spec, named) in [
        ("{containers: []}", "spec.containers"),
        ("{containers: [{name: 'C', image: 'a.io/x:1'}]}", "spec.containers[0].name"),
        ("{containers: [{name: c, image: ''}]}", "spec.containers[0].image"),
        ("{containers: [{name: c, image: 'a.io/x:1'}, {name: c, image: 'a.io/x:1'}]}", "duplicate \"c\""),
        ("{hostname: 'a.b', containers: [{name: c, image: 'a.io/x:1'}]}", "spec.hostname"),
        ("{containers: [{name: c, image: 'a.io/x:1', workingDir: 'x'}]}", "workingDir"),
        ("{containers: [{name: c, image: 'a.io/x:1', env: [{name: 'A=B'}]}]}", "env[0].name"),
    ] {
        assert!(refused(spec).contains(named), "{spec}: {}", refused(spec));
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let said = refused(
        "{hostname: 'a.b', volumes: [{name: m, emptyDir: {medium: HugePages}}, {name: h, hostPath: {path: x}}],
          containers: [{name: A, image: '', env: [{name: ''}, {name: 'a=b'}],
                        volumeMounts: [{name: m, mountPath: /m}, {name: none, mountPath: /n}]},
                       {name: b, image: 'a.io/x:1', workingDir: x, resources: {limits: {cpu: 1}, requests: {cpu: 2}}}]}",
    );
    let paths: Vec<_> =
        said.lines().skip(1).map(|line| line.trim_start().strip_prefix("pod web.x: ").expect(line)).collect();
    for path in [
        "spec.hostname:",
        "spec.volumes[0].emptyDir.medium is not supported yet",
        "spec.volumes[1].hostPath.path:",
        "spec.containers[0].name:",
        "spec.containers[0].image:",
        "spec.containers[0].env[0].name:",
        "spec.containers[0].env[1].name:",
        "spec.containers[0].volumeMounts[1].name:",
        "spec.containers[1].workingDir:",
        "spec.containers[1].resources.requests.cpu:",
    ] {
        assert_eq!(paths.iter().filter(|line| line.starts_with(path)).count(), 1, "{path}: {said}");
    }
    assert_eq!(paths.len(), 10, "{said}");
}
