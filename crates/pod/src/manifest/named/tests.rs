use super::*;

#[test]
fn pods_are_named_whatever_else_they_say() {
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
";
    let names: Vec<_> = names(text).unwrap().into_iter().map(|pod| (pod.namespace, pod.name)).collect();
    let of = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    assert_eq!(names, [of("x", "a"), of("default", "c"), of("default", "e")]);
}

#[test]
fn what_is_no_manifest_is_refused() {
    assert!(matches!(names(b"a: ["), Err(ManifestError::Syntax(_))));
    assert!(matches!(names(&vec![b' '; MAX_BYTES + 1]), Err(ManifestError::TooLarge(_))));
    assert_eq!(names(b"- 1\n- 2\n").unwrap(), []);
}
