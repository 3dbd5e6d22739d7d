use std::path::Path;

use super::super::{Node, Place, Plan, PlanError, VolumeKind, plan};
use crate::manifest::parse;

const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a: config, b.txt: two}
binaryData: {raw: AAE=}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {p: secret}
---
";

fn tried(volume: &str, mount: &str) -> Result<Plan, PlanError> {
    let text = format!(
        "{OBJECTS}{{apiVersion: v1, kind: Pod,
          metadata: {{name: web, labels: {{app: shop, tier: a}}, annotations: {{n: 'say \"x\"'}}}},
          spec: {{volumes: [{{name: v, {volume}}}],
            containers: [{{name: main, image: 'a.io/x:1', resources: {{limits: {{memory: 64Mi}}}},
              volumeMounts: [{{name: v, mountPath: /m{mount}}}]}}]}}}}"
    );
    let pod = parse(text.as_bytes()).unwrap_or_else(|e| panic!("{volume}: {e}")).remove(0);
    let node = Node::default();
    plan(
        &pod,
        &Place {
            uid: "u1".into(),
            dir: "/pods/u1".into(),
            claims: "/claims".into(),
            addresses: Vec::new(),
            user: None,
            node,
            cluster: None,
            env_files: Default::default(),
        },
    )
}

fn files(volume: &str) -> Vec<(String, u32, String)> {
    let plan = tried(volume, "").unwrap_or_else(|e| panic!("{volume}: {e}"));
    assert!(plan.main[0].config.mounts[0].readonly, "{volume}");
    let VolumeKind::Files(files) = &plan.volumes[0].kind else { panic!("{volume}: {:?}", plan.volumes) };
    let of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    files.iter().map(|(path, c)| (path.display().to_string(), c.mode, of(&c.bytes))).collect()
}

#[test]
fn files_from_their_sources() {
    let all: &[(&str, u32, &str)] =
        &[("a", 0o644, "config"), ("b.txt", 0o644, "two"), ("raw", 0o644, "\0\x01")];
    for (volume, expected) in [
        ("configMap: {name: c}", all),
        (
            "configMap: {name: c, defaultMode: 0440, items: [{key: a, path: d/e}, {key: b.txt, path: f, mode: 0600}]}",
            &[("d/e", 0o440, "config"), ("f", 0o600, "two")],
        ),
        ("configMap: {name: none, optional: true}", &[]),
        ("configMap: {name: c, optional: true, items: [{key: none, path: x}]}", &[]),
        ("secret: {secretName: s, defaultMode: 256}", &[("p", 0o400, "secret")]),
        (
            "downwardAPI: {items: [
               {path: labels, fieldRef: {fieldPath: metadata.labels}},
               {path: notes, fieldRef: {fieldPath: metadata.annotations}},
               {path: uid, mode: 0400, fieldRef: {fieldPath: metadata.uid}},
               {path: app, fieldRef: {fieldPath: \"metadata.labels['app']\"}},
               {path: memory, resourceFieldRef: {containerName: main, resource: limits.memory, divisor: 1Mi}}]}",
            &[
                ("app", 0o644, "shop"),
                ("labels", 0o644, "app=\"shop\"\ntier=\"a\""),
                ("memory", 0o644, "64"),
                ("notes", 0o644, "n=\"say \\\"x\\\"\""),
                ("uid", 0o400, "u1"),
            ],
        ),
        (
            "projected: {defaultMode: 0444, sources: [
               {configMap: {name: c, items: [{key: a, path: x/a}]}},
               {secret: {name: s, items: [{key: p, path: x/p, mode: 0400}]}},
               {secret: {name: none, optional: true}},
               {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}",
            &[("name", 0o444, "web"), ("x/a", 0o444, "config"), ("x/p", 0o400, "secret")],
        ),
    ] {
        let expected: Vec<_> = expected.iter().map(|(p, m, t)| ((*p).to_owned(), *m, (*t).to_owned())).collect();
        assert_eq!(files(volume), expected, "{volume}");
    }
}

#[test]
fn what_cannot_be_a_file_is_refused_by_its_path() {
    for (volume, path, said) in [
        ("configMap: {name: none}", "configMap.name", "Not found: \"none\""),
        ("secret: {secretName: c}", "secret.secretName", "has no Secret of this name"),
        ("secret: {secretName: ''}", "secret.secretName", "Required value"),
        ("configMap: {name: c, items: [{key: x, path: x}]}", "configMap.items[0].key", "Not found: \"x\""),
        (
            "configMap: {name: c, items: [{key: a, path: ../x}]}",
            "configMap.items[0].path",
            "must not contain '..'",
        ),
        ("configMap: {name: c, items: [{key: a, path: /x}]}", "configMap.items[0].path", "relative path"),
        (
            "configMap: {name: c, items: [{key: a, path: ..data}]}",
            "configMap.items[0].path",
            "must not start with '..'",
        ),
        ("configMap: {name: c, items: [{key: a, path: ''}]}", "configMap.items[0].path", "Required value"),
        (
            "configMap: {name: c, items: [{key: a, path: x}, {key: a, path: x/y}]}",
            "configMap.items[1].path",
            "conflict",
        ),
        ("configMap: {name: c, defaultMode: 01000}", "configMap.defaultMode", "Invalid value: 512"),
        (
            "configMap: {name: c, items: [{key: a, path: a, mode: 1000}]}",
            "configMap.items[0].mode",
            "Invalid value: 1000",
        ),
        ("downwardAPI: {items: [{path: a}]}", "downwardAPI.items[0]", "Required value"),
        (
            "downwardAPI: {items: [{path: a, fieldRef: {fieldPath: status.podIP}}]}",
            "downwardAPI.items[0].fieldRef.fieldPath",
            "Unsupported value",
        ),
        (
            "downwardAPI: {items: [{path: a, resourceFieldRef: {resource: limits.cpu}}]}",
            "downwardAPI.items[0].resourceFieldRef.containerName",
            "Required value",
        ),
        ("projected: {sources: [{}]}", "projected.sources[0]", "Required value"),
        (
            "projected: {sources: [{configMap: {name: c}}, {configMap: {name: c}}]}",
            "projected.sources[1].configMap",
            "conflict",
        ),
    ] {
        let message = tried(volume, "").expect_err(volume).to_string();
        let start = format!("pod web: spec.volumes[0].{path}: ");
        assert!(message.starts_with(&start) && message.contains(said), "{volume}: {message}");
    }
    let two = tried("emptyDir: {}, configMap: {name: c}", "").expect_err("two").to_string();
    assert_eq!(two, "pod web: spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type");
    for source in ["serviceAccountToken: {path: t}", "clusterTrustBundle: {path: t}"] {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{containers: [], volumes: [{{name: v, projected: {{sources: [{{{source}}}]}}}}]}}}}"
        );
        let message = parse(text.as_bytes()).expect_err(source).to_string();
        assert!(message.starts_with("document 1: spec.volumes[0].projected.sources[0]."), "{message}");
        assert!(message.ends_with("is not supported yet: remove it"), "{message}");
    }
}

#[test]
fn one_file_of_a_volume() {
    let volume = "configMap: {name: c, items: [{key: a, path: d/e}]}";
    for path in ["d/e", "d"] {
        let plan = tried(volume, &format!(", subPath: {path}")).unwrap();
        let mount = &plan.main[0].config.mounts[0];
        assert_eq!(mount.host_path, Path::new("/pods/u1/volumes/v").join(path));
        assert!(mount.readonly);
    }
    for (volume, path, said) in [
        (volume, "x", "subPath: Not found: \"x\""),
        (volume, "../d", "subPath: Invalid value"),
        (volume, "/d", "subPath: Invalid value"),
    ] {
        let message = tried(volume, &format!(", subPath: {path}")).expect_err(path).to_string();
        assert!(message.contains(&format!("spec.containers[0].volumeMounts[0].{said}")), "{message}");
    }
}
