use super::super::{Node, Place, PlanError, plan};
use crate::manifest::parse;

const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a: config, B.b: two, 1-x: odd}
binaryData: {raw: AAE=}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {raw: /w==, nul: AA==}
stringData: {a: secret, p: '$(A)'}
---
";

fn place() -> Place {
    let addresses = |all: &[&str]| all.iter().map(|a| a.parse().unwrap()).collect();
    let node = Node {
        name: "node1".into(),
        addresses: addresses(&["192.0.2.1", "2001:db8::1"]),
        cpus: 4,
        memory: 8 << 30,
    };
    Place {
        uid: "u1".into(),
        dir: "/pods/u1".into(),
        claims: "/claims".into(),
        addresses: addresses(&["10.0.0.2", "fd00::2"]),
        user: None,
        node,
        cluster: None,
        env_files: Default::default(),
    }
}

fn tried(container: &str, more: &str) -> Result<super::super::Plan, PlanError> {
    let text = format!(
        "{OBJECTS}{{apiVersion: v1, kind: Pod,
          metadata: {{name: web, namespace: default, labels: {{app: shop}}, annotations: {{a.b/c: note}}}},
          spec: {{{more} containers: [{{name: main, image: 'a.io/x:1', {container}}}]}}}}"
    );
    let pod = parse(text.as_bytes()).unwrap_or_else(|e| panic!("{container}: {e}")).remove(0);
    plan(&pod, &place())
}

fn set(container: &str) -> Vec<(String, String)> {
    let plan = tried(container, "").unwrap_or_else(|e| panic!("{container}: {e}"));
    let envs = &plan.main[0].config.envs;
    envs.iter().map(|e| (e.name.clone(), String::from_utf8(e.value.clone()).unwrap())).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn variables_from_their_sources() {
    for (container, expected) in [
        ("env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: a}}}]", &[("A", "config")][..]),
        ("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: a}}}]", &[("A", "secret")]),
        ("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: no1, optional: true}}}]", &[]),
        ("env: [{name: A, valueFrom: {secretKeyRef: {name: none, key: a, optional: true}}}]", &[]),
        ("env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: raw, optional: true}}}]", &[]),
        // What comes from elsewhere is not expanded; what refers to it is.
        (
            "env: [{name: A, value: x}, {name: P, valueFrom: {secretKeyRef: {name: s, key: p}}}, {name: Q, value: '$(P)-$(A)'}]",
            &[("A", "x"), ("P", "$(A)"), ("Q", "$(A)-x")],
        ),
        ("envFrom: [{configMapRef: {name: c}}]", &[("1-x", "odd"), ("B.b", "two"), ("a", "config")]),
        (
            "envFrom: [{prefix: P_, configMapRef: {name: c}}]",
            &[("P_1-x", "odd"), ("P_B.b", "two"), ("P_a", "config")],
        ),
        ("envFrom: [{secretRef: {name: none, optional: true}}]", &[]),
        // env wins over envFrom, and may refer to it.
        (
            "envFrom: [{configMapRef: {name: c}}], env: [{name: a, value: 'own $(B.b)'}, {name: z, value: '$(a)'}]",
            &[("1-x", "odd"), ("B.b", "two"), ("a", "own two"), ("z", "own two")],
        ),
        ("env: [{name: A, value: '1'}, {name: A, value: '$(A)2'}]", &[("A", "12")]),
        ("env: [{name: A}]", &[("A", "")]),
    ] {
        assert_eq!(set(container), pairs(expected), "{container}");
    }
}

#[test]
fn what_a_pod_is_told_of_itself() {
    for (path, expected) in [
        ("metadata.name", "web"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "shop"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['a.b/c']", "note"),
        ("spec.nodeName", "node1"),
        ("spec.serviceAccountName", "default"),
        ("status.hostIP", "192.0.2.1"),
        ("status.hostIPs", "192.0.2.1,2001:db8::1"),
        ("status.podIP", "10.0.0.2"),
        ("status.podIPs", "10.0.0.2,fd00::2"),
    ] {
        let env = format!("env: [{{name: A, valueFrom: {{fieldRef: {{fieldPath: \"{path}\"}}}}}}]");
        assert_eq!(set(&env), pairs(&[("A", expected)]), "{path}");
    }
    let host = "env: [{name: A, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: status.podIP}}}]";
    let plan = tried(host, "hostNetwork: true,").unwrap();
    assert_eq!(plan.main[0].config.envs[0].value, b"192.0.2.1");
}

#[test]
fn what_a_pod_is_told_of_its_resources() {
    let limited = "resources: {limits: {cpu: 1500m, memory: 64Mi}, requests: {cpu: 250m}}";
    let free = "resources: {}";
    for (resources, field, expected) in [
        (limited, "resource: limits.cpu", "2"),
        (limited, "resource: limits.cpu, divisor: 1m", "1500"),
        (limited, "resource: limits.cpu, divisor: 0", "2"),
        (limited, "resource: requests.cpu, divisor: 1m", "250"),
        (limited, "resource: limits.memory", "67108864"),
        (limited, "resource: limits.memory, divisor: 1Mi", "64"),
        (limited, "resource: limits.memory, divisor: 1G", "1"),
        (limited, "resource: requests.memory, divisor: 1Ki", "65536"),
        (limited, "containerName: main, resource: limits.cpu", "2"),
        (free, "resource: limits.cpu", "4"),
        (free, "resource: limits.memory, divisor: 1Gi", "8"),
        (free, "resource: requests.cpu", "0"),
        (free, "resource: requests.memory", "0"),
    ] {
        let container =
            format!("{resources}, env: [{{name: A, valueFrom: {{resourceFieldRef: {{{field}}}}}}}]");
        assert_eq!(set(&container), pairs(&[("A", expected)]), "{container}");
    }
}

#[test]
fn what_cannot_be_told_is_refused_by_its_path() {
    let from = "spec.containers[0].env[0].valueFrom";
    for (source, path, said) in [
        ("configMapKeyRef: {name: none, key: a}", ".configMapKeyRef.name", "Not found: \"none\""),
        ("configMapKeyRef: {name: c, key: b}", ".configMapKeyRef.key", "Not found: \"b\""),
        ("configMapKeyRef: {name: c, key: raw}", ".configMapKeyRef.key", "Not found: \"raw\""),
        ("configMapKeyRef: {name: '', key: a, optional: true}", ".configMapKeyRef.name", "Required value"),
        ("secretKeyRef: {name: c, key: a}", ".secretKeyRef.name", "has no Secret of this name"),
        ("secretKeyRef: {name: s, key: raw}", ".secretKeyRef.key", "not text"),
        ("secretKeyRef: {name: s, key: nul}", ".secretKeyRef.key", "not text"),
        ("fieldRef: {fieldPath: status.phase}", ".fieldRef.fieldPath", "Unsupported value: \"status.phase\""),
        ("fieldRef: {fieldPath: metadata.labels}", ".fieldRef.fieldPath", "Unsupported value"),
        (
            "fieldRef: {apiVersion: v2, fieldPath: metadata.name}",
            ".fieldRef.apiVersion",
            "Unsupported value: \"v2\"",
        ),
        ("resourceFieldRef: {resource: cpu}", ".resourceFieldRef.resource", "Unsupported value: \"cpu\""),
        (
            "resourceFieldRef: {resource: limits.cpu, divisor: 2}",
            ".resourceFieldRef.divisor",
            "Invalid value",
        ),
        (
            "resourceFieldRef: {resource: limits.memory, divisor: 500m}",
            ".resourceFieldRef.divisor",
            "Invalid value",
        ),
        (
            "resourceFieldRef: {resource: limits.ephemeral-storage}",
            ".resourceFieldRef.resource",
            "not supported yet",
        ),
        (
            "resourceFieldRef: {containerName: x, resource: limits.cpu}",
            ".resourceFieldRef.containerName",
            "Not found",
        ),
        ("", "", "must specify one of"),
        ("fieldRef: {fieldPath: metadata.name}, secretKeyRef: {name: s, key: a}", "", "more than one"),
    ] {
        let env = format!("env: [{{name: A, valueFrom: {{{source}}}}}]");
        let message = tried(&env, "").expect_err(source).to_string();
        assert!(
            message.starts_with(&format!("pod web: {from}{path}")) && message.contains(said),
            "{source}: {message}"
        );
    }
    for (container, said) in [
        ("envFrom: [{configMapRef: {name: none}}]", "envFrom[0].configMapRef.name: Not found"),
        ("envFrom: [{secretRef: {name: s}}]", "envFrom[0].secretRef.name: the value of key"),
        ("envFrom: [{}]", "envFrom[0]: Invalid value: \"\": must specify one of"),
        ("envFrom: [{prefix: 'a=', configMapRef: {name: c}}]", "envFrom[0].prefix: Invalid value: \"a=\""),
        (
            "env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
            "env[0].valueFrom: Invalid",
        ),
        ("env: [{name: 'A=B'}]", "env[0].name: Invalid value: \"A=B\""),
    ] {
        let message = tried(container, "").expect_err(container).to_string();
        assert!(message.contains(&format!("spec.containers[0].{said}")), "{container}: {message}");
    }
}
