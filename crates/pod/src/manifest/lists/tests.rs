use crate::manifest::{MAX_DOCUMENTS, ObjectKind, parse};

const CONTAINERS: &str = "spec: {containers: [{name: c, image: i, envFrom: [{configMapRef: {name: m}}]}]}";

fn refused(text: &str) -> String {
    parse(text.as_bytes()).expect_err(text).to_string()
}

#[test]
fn the_items_of_a_list_are_like_documents() {
    let list = format!(
        "{{apiVersion: v1, kind: List, metadata: {{resourceVersion: ''}}, items: [
           {{apiVersion: v1, kind: ConfigMap, metadata: {{name: m}}, data: {{a: b}}}},
           {{apiVersion: v1, kind: Pod, metadata: {{name: one}}, {CONTAINERS}}}]}}
---
{{apiVersion: v1, kind: PodList, items: [{{metadata: {{name: two}}, {CONTAINERS}}}]}}
"
    );
    let pods = parse(list.as_bytes()).unwrap();
    assert_eq!(pods.iter().map(|pod| pod.metadata.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    for pod in &pods {
        assert!(pod.objects.get(ObjectKind::ConfigMap, "m").is_some());
        let again = crate::manifest::resume(&pod.source, &pod.objects.source()).unwrap();
        assert_eq!(again.metadata.name, pod.metadata.name);
    }
}

#[test]
fn the_faults_of_items_have_their_paths() {
    let list = |items: &str| format!("{{apiVersion: v1, kind: List, items: {items}}}");
    let said = refused(&list(
        "[{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: x, containers: []}}, text,
          {apiVersion: networking.k8s.io/v1, kind: Ingress}]",
    ));
    for line in [
        "document 1: items[0].spec.nodeName is not supported yet",
        "document 1: items[1]: expected a mapping",
        "document 1: items[2]: \"Ingress\" of \"networking.k8s.io/v1\"",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(
        refused(&list("[{apiVersion: v1, kind: List, items: []}]")).contains("items[0].kind: Invalid value")
    );
    assert!(refused(&list("5")).contains("items: Invalid value"));
    assert!(refused(&list("[]")).contains("empty"));
    assert!(refused("{apiVersion: v1, kind: PodList, items: [{kind: Secret}]}").contains("items[0].kind"));
    assert!(refused("{apiVersion: v1, kind: List, item: []}").contains("item: no such field"));
    let many = vec!["{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"; MAX_DOCUMENTS + 1].join(", ");
    assert!(refused(&list(&format!("[{many}]"))).contains("100 are allowed"));
}
