use crate::manifest::parse;

fn refused(text: &str) -> Vec<String> {
    let said = parse(text.as_bytes()).expect_err(text).to_string();
    said.lines().map(|line| line.trim_start().to_owned()).collect()
}

fn pod(spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {spec}}}")
}

#[test]
fn all_faults_are_named_each_with_its_path() {
    let spec = "{nodeName: x, tolerations: [], restartPolicy: Sometimes,
        containers: [{name: a, image: i, resizePolicy: {}, imag: i, ports: [{containerPort: 99999}]},
                     {image: 5, command: [x, 1]}, {name: c, image: i, volumeDevices: {}}]}";
    let mut lines = refused(&pod(spec));
    assert_eq!(lines.remove(0), "10 faults");
    for (path, what) in [
        ("spec.nodeName", "is not supported yet"),
        ("spec.tolerations", "is not supported yet"),
        ("spec.restartPolicy", "Unsupported value: \"Sometimes\": supported values: \"Always\""),
        ("spec.containers[0].resizePolicy", "is not supported yet"),
        ("spec.containers[0].imag", "no such field in a v1 Pod (hint: did you mean image?)"),
        ("spec.containers[0].ports[0].containerPort", "99999"),
        ("spec.containers[1].image", "invalid type: integer `5`"),
        ("spec.containers[1].command[1]", "invalid type: integer `1`"),
        ("spec.containers[1]", "missing field `name`"),
        ("spec.containers[2].volumeDevices", "is not supported yet"),
    ] {
        let start = format!("document 1: {path}");
        let named = lines.iter().filter(|line| {
            line.strip_prefix(&start).is_some_and(|rest| rest.starts_with([':', ' ']) && rest.contains(what))
        });
        assert_eq!(named.count(), 1, "{path} {what}: {lines:#?}");
    }
    assert_eq!(lines.len(), 10, "{lines:#?}");
}

#[test]
fn faults_of_several_documents_are_told_together() {
    let first = pod("{nodeName: x, containers: []}");
    let lines = refused(&format!(
        "{first}\n---\njust text\n---\n{{apiVersion: networking.k8s.io/v1, kind: Ingress}}\n"
    ));
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[1], "document 1: spec.nodeName is not supported yet: remove it");
    assert!(lines[2].starts_with("document 2 is not a manifest"), "{lines:?}");
    assert!(lines[3].starts_with("document 3: \"Ingress\" of \"networking.k8s.io/v1\""), "{lines:?}");
}

#[test]
fn what_a_fault_brings_about_is_not_another() {
    assert_eq!(
        refused("{apiVersion: v1, kind: Pod, metadata: 5, spec: {containers: []}}"),
        ["document 1: metadata: invalid type: integer `5`, expected struct Metadata"]
    );
    let lines = refused(&pod("{containers: [5, {image: i}]}"));
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].contains("spec.containers[0]: invalid type"), "{lines:?}");
    assert!(lines[2].contains("spec.containers[1]: missing field `name`"), "{lines:?}");
}

#[test]
fn the_list_is_bounded() {
    let unknown: Vec<_> = (0..500).map(|n| format!("nosuch{n}: 1")).collect();
    let lines = refused(&pod(&format!("{{containers: [], {}}}", unknown.join(", "))));
    assert_eq!(lines[0], "50 faults");
    let long: Vec<_> = (0..20).map(|n| format!("{}{n}: 1", "x".repeat(1000))).collect();
    let lines = refused(&pod(&format!("{{containers: [], {}}}", long.join(", "))));
    assert!(lines.concat().len() < 7000 && lines.last().unwrap().starts_with("and "), "{lines:?}");
}
