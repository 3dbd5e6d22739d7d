use super::*;

#[test]
fn objects_are_named_whatever_else_they_say() {
    let text = b"
kind: Pod
metadata: {name: a, namespace: x}
spec: {noSuchField: 1}
---
kind: ConfigMap
metadata: {name: b}
---
kind: List
items: [{kind: Pod, metadata: {name: c}}, {kind: Secret, metadata: {name: d}}]
---
kind: PodList
items: [{metadata: {name: e}}]
---
kind: Deployment
metadata: {name: f, namespace: z}
---
";
    let names: Vec<String> =
        names(text).unwrap().iter().map(|of| format!("{} {} {}", of.kind, of.namespace, of.name)).collect();
    let expected = [
        "Pod x a",
        "ConfigMap default b",
        "Pod default c",
        "Secret default d",
        "Pod default e",
        "Deployment z f",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_is_no_manifest_is_refused() {
    assert!(matches!(names(b"a: ["), Err(ManifestError::Syntax(_))));
    assert!(matches!(names(&vec![b' '; MAX_BYTES + 1]), Err(ManifestError::TooLarge(_))));
    assert_eq!(names(b"- 1\n- 2\n").unwrap(), []);
}
