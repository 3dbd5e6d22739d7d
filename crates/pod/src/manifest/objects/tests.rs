use super::*;
use crate::manifest::parse;

fn object(kind: &str, name: &str, rest: &str) -> String {
    format!("{{apiVersion: v1, kind: {kind}, metadata: {{name: {name}}}, {rest}}}")
}

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [
    {name: a, image: i, envFrom: [{configMapRef: {name: c}}, {secretRef: {name: s}}]}]}}";

fn objects(documents: &[&str]) -> Objects {
    let text = documents.join("\n---\n");
    parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}")).remove(0).objects
}

fn refused(kind: &str, rest: &str) -> String {
    let text = format!("{}\n---\n{POD}", object(kind, "c", rest));
    parse(text.as_bytes()).expect_err(rest).to_string()
}

fn values(object: &Object) -> Vec<(&str, &[u8], bool)> {
    object.data.iter().map(|(key, entry)| (key.as_str(), entry.bytes.as_slice(), entry.variable)).collect()
}

#[test]
fn a_pod_has_the_objects_that_it_uses_wherever_they_stand() {
    let config = object("ConfigMap", "c", "immutable: true, data: {a: x, empty: }, binaryData: {b: 'AAE='}");
    let secret = object("Secret", "s", "data: {a: 'b2xk', b: \"cGFz\\ncw==\"}, stringData: {a: new}");
    let other = object("ConfigMap", "other", "data: {a: x}");
    for order in [[&config, &secret, &other, POD], [POD, &other, &secret, &config]] {
        let objects = objects(&order);
        assert_eq!(
            values(objects.get(ObjectKind::ConfigMap, "c").unwrap()),
            [("a", &b"x"[..], true), ("b", &[0, 1][..], false), ("empty", &b""[..], true)]
        );
        let secret = objects.get(ObjectKind::Secret, "s").unwrap();
        assert_eq!(values(secret), [("a", &b"new"[..], true), ("b", &b"pass"[..], true)]);
        assert_eq!(objects.get(ObjectKind::ConfigMap, "other"), None);
        assert_eq!(objects.get(ObjectKind::ConfigMap, "s"), None);
    }
}

#[test]
fn an_object_of_another_namespace_is_another() {
    let apart = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: far}, data: {a: far}}";
    let near = object("ConfigMap", "c", "data: {a: near}");
    assert_eq!(objects(&[apart, POD]), Objects::default());
    let both = objects(&[apart, &near, POD]);
    assert_eq!(values(both.get(ObjectKind::ConfigMap, "c").unwrap()), [("a", &b"near"[..], true)]);
}

#[test]
fn what_the_daemon_keeps_gives_the_same_objects() {
    let text =
        [&object("ConfigMap", "c", "data: {a: x, e: }"), &object("Secret", "s", "stringData: {p: w}"), POD]
            .join("\n---\n");
    let pod = parse(text.as_bytes()).unwrap().remove(0);
    let again = crate::manifest::resume(&pod.source, &pod.objects.source()).unwrap();
    assert_eq!(again.objects, pod.objects);
    assert_eq!(again.source, pod.source);
    assert!(!format!("{pod:?}").contains("\"w\""), "{pod:?}");
}

#[test]
fn what_the_api_server_refuses() {
    for (kind, rest, said) in [
        ("ConfigMap", "data: {'a b': x}", "data[a b]: Invalid value: \"a b\": a key has"),
        ("ConfigMap", "data: {'..': x}", "data[..]: Invalid value: \"..\": a key is not"),
        ("ConfigMap", "data: {a: 1}", "data.a: invalid type: integer `1`, expected a string"),
        (
            "ConfigMap",
            "data: {a: x}, binaryData: {a: ''}",
            "data[a]: Invalid value: \"a\": it is in binaryData",
        ),
        ("ConfigMap", "binaryData: {a: '%'}", "binaryData[a]: Invalid value: it is not base64"),
        ("ConfigMap", "dat: {a: x}", "dat: no such field in a v1 ConfigMap (hint: did you mean data?)"),
        ("Secret", "data: {a: plain text}", "data[a]: Invalid value: it is not base64"),
        ("Secret", "type: kubernetes.io/tls, data: {tls.crt: ''}", "data[tls.key]: Required value"),
        ("Secret", "type: kubernetes.io/basic-auth", "data[username]: Required value"),
        ("Secret", "stringData: {'': x}", "stringData[]: Invalid value"),
    ] {
        let message = refused(kind, rest);
        assert!(message.starts_with(&format!("document 1: {said}")), "{rest}: {message}");
    }
    let name = object("ConfigMap", "A", "data: {}");
    let message = parse(name.as_bytes()).expect_err("a name").to_string();
    assert!(message.contains("metadata.name: Invalid value: \"A\""), "{message}");
}

#[test]
fn no_message_has_a_value_of_a_secret() {
    let message = refused("Secret", "data: {a: 'hunter2!'}, stringData: {'b c': hunter2}");
    assert!(message.contains("2 faults") && !message.contains("hunter2"), "{message}");
}

#[test]
fn the_size_of_an_object_is_bounded() {
    let value = |kind, bytes: usize| {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"},
            "data": {"a": "x".repeat(bytes)}});
        read(1, kind, &value)
    };
    assert!(value(ObjectKind::ConfigMap, MAX_OBJECT).is_ok());
    let faults = value(ObjectKind::ConfigMap, MAX_OBJECT + 1).unwrap_err();
    assert_eq!(faults[0].to_string(), "document 1: data: Too long: 1048577 bytes, 1048576 are allowed");
}

#[test]
fn twice_the_same_object_and_no_pod_are_refused() {
    let config = object("ConfigMap", "c", "data: {a: x}");
    let said = |text: &str| parse(text.as_bytes()).expect_err(text).to_string();
    assert_eq!(
        said(&format!("{config}\n---\n{POD}\n---\n{config}")),
        "document 3: duplicate ConfigMap c in the manifest"
    );
    assert_eq!(said(&config), "the manifest has no Pod and no workload");
}
