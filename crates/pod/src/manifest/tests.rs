use super::*;
use proptest::prelude::*;

const WEB: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  restartPolicy: OnFailure
  containers:
  - name: server
    image: registry.k8s.io/nginx:1
    args: [-g, 'daemon off;']
    ports:
    - {containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1}
    resources:
      limits: {cpu: 500m, memory: 64Mi}
      requests: {cpu: 0.1}
    securityContext:
      capabilities: {drop: [ALL]}
      seccompProfile: {type: RuntimeDefault}
    volumeMounts:
    - {name: data, mountPath: /data, readOnly: true}
  volumes:
  - name: data
    emptyDir: {}
";

#[test]
fn a_pod_reads_with_all_its_fields() {
    let pods = parse(WEB.as_bytes()).unwrap();
    let [pod] = pods.as_slice() else { panic!("one pod") };
    assert_eq!(pod.metadata.name, "web");
    assert_eq!(pod.spec.restart_policy, RestartPolicy::OnFailure);
    let container = &pod.spec.containers[0];
    assert_eq!(container.ports[0].host_port, Some(8080));
    assert_eq!(container.resources.limits.cpu.unwrap().millis(), 500);
    assert_eq!(container.resources.requests.cpu.unwrap().millis(), 100);
    assert_eq!(container.resources.limits.memory.unwrap().units(), 64 << 20);
    assert!(container.volume_mounts[0].read_only);
}

#[test]
fn several_documents_and_json_read_too() {
    let two = format!("{WEB}---\n{}", WEB.replace("name: web", "name: web2"));
    assert_eq!(parse(two.as_bytes()).unwrap().len(), 2);
    let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"j"},"spec":{"containers":[{"name":"c","image":"a.io/x"}]}}"#;
    assert_eq!(parse(json.as_bytes()).unwrap()[0].metadata.name, "j");
}

fn refused(text: &str) -> String {
    parse(text.as_bytes()).expect_err("it was accepted").to_string()
}

#[test]
fn what_is_not_supported_is_refused_by_its_path() {
    let resize = WEB.replace("    args:", "    resizePolicy: []\n    args:");
    assert_eq!(
        refused(&resize),
        "document 1: spec.containers[0].resizePolicy is not supported yet: remove it"
    );
    let node = WEB.replace("  restartPolicy", "  nodeName: x\n  restartPolicy");
    assert!(refused(&node).contains("spec.nodeName is not supported yet"), "{}", refused(&node));
    let nfs = WEB.replace("emptyDir: {}", "nfs: {server: x, path: /}");
    assert!(refused(&nfs).contains("spec.volumes[0].nfs"), "{}", refused(&nfs));
}

#[test]
fn a_mistyped_field_is_named_as_no_field() {
    let typo = WEB.replace("    args:", "    arguments:");
    assert_eq!(refused(&typo), "document 1: spec.containers[0].arguments: no such field in a v1 Pod");
}

#[test]
fn a_slip_of_the_fingers_gets_a_hint() {
    for (text, typo, meant) in [
        ("  restartPolicy", "  restartpolicy", "restartPolicy"),
        ("  containers:", "  containrs:", "containers"),
        ("hostPort", "hostport", "hostPort"),
        ("limits:", "limit:", "limits"),
        ("image:", "Image:", "image"),
    ] {
        let message = refused(&WEB.replacen(text, typo, 1));
        assert!(message.ends_with(&format!("(hint: did you mean {meant}?)")), "{message}");
    }
}

#[test]
fn resources_without_a_limit_here_are_known_by_name() {
    for name in ["hugepages-2Mi", "example.com/gpu"] {
        let message = refused(&WEB.replace("limits: {cpu: 500m,", &format!("limits: {{{name}: 1,")));
        assert!(message.contains(&format!("resources.limits.{name} is not supported yet")), "{message}");
    }
}

#[test]
fn what_tools_leave_in_a_manifest_asks_for_nothing() {
    let more = WEB
        .replace("  labels:", "  creationTimestamp: null\n  annotations:\n  labels:")
        .replace("  restartPolicy", "  dnsPolicy: ClusterFirst\n  enableServiceLinks: false\n  restartPolicy")
        .replace("    args:", "    env:\n    workingDir: null\n    args:")
        + "status: {}\n";
    let pods = parse(more.as_bytes()).unwrap();
    assert_eq!(pods[0].source, parse(WEB.as_bytes()).unwrap()[0].source);
    for (from, to, path) in [
        ("dnsPolicy: ClusterFirst", "schedulerName: mine", "spec.schedulerName"),
        ("status: {}", "status: {phase: Running}", "status"),
        (
            "enableServiceLinks: false",
            "automountServiceAccountToken: true",
            "spec.automountServiceAccountToken",
        ),
    ] {
        let message = refused(&more.replace(from, to));
        assert!(message.contains(&format!("{path} is not supported yet")), "{message}");
    }
}

#[test]
fn a_pod_stands_once_in_a_manifest() {
    let twice = format!("{WEB}---\n{WEB}");
    assert_eq!(refused(&twice), "document 2: duplicate pod web in the manifest");
    let apart = format!("{WEB}---\n{}", WEB.replace("  name: web", "  name: web\n  namespace: other"));
    assert_eq!(parse(apart.as_bytes()).unwrap().len(), 2);
}

#[test]
fn a_wrong_value_is_named_with_its_path() {
    assert_eq!(
        refused("apiVersion: v1\nkind: Pod\nspec: {containers: []}"),
        "document 1: the document: missing field `metadata`"
    );
    let port = WEB.replace("containerPort: 80", "containerPort: 99999");
    assert!(refused(&port).contains("spec.containers[0].ports[0].containerPort"), "{}", refused(&port));
    let cpu = WEB.replace("500m", "half");
    assert!(refused(&cpu).contains("spec.containers[0].resources.limits.cpu"), "{}", refused(&cpu));
    let policy = WEB.replace("OnFailure", "Sometimes");
    assert!(refused(&policy).contains("spec.restartPolicy"), "{}", refused(&policy));
}

#[test]
fn other_kinds_and_nothing_are_refused() {
    assert!(
        refused("kind: Ingress\napiVersion: networking.k8s.io/v1")
            .contains("\"Ingress\" of \"networking.k8s.io/v1\"")
    );
    assert!(refused("").contains("empty"));
    assert!(refused("---\n---\n").contains("empty"));
    assert!(refused("a: [").contains("not YAML"));
    assert!(refused("just text").contains("document 1 is not a manifest"));
    assert!(matches!(parse(&vec![b' '; MAX_BYTES + 1]), Err(ManifestError::TooLarge(_))));
    assert!(matches!(parse(b"\xff\xfe"), Err(ManifestError::Syntax(_))));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        drop(parse(text.as_bytes()));
    }
}

#[test]
fn several_files_are_one_manifest_whose_faults_have_their_file() {
    let objects = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: m}\n";
    let uses = WEB.replace("    args:", "    envFrom: [{configMapRef: {name: m}}]\n    args:");
    let pods = parse_files(&[("a.yaml", objects.as_bytes()), ("b.yaml", uses.as_bytes())]).unwrap().pods;
    assert!(pods[0].objects.get(ObjectKind::ConfigMap, "m").is_some());
    let wrong = WEB.replace("  restartPolicy", "  nodeName: x\n  restartPolicy");
    let said = parse_files(&[
        ("a.yaml", WEB.as_bytes()),
        ("b.yaml", WEB.as_bytes()),
        ("c.yaml", wrong.as_bytes()),
        ("d", b"a: ["),
    ]);
    let said = said.expect_err("it was accepted").to_string();
    for line in [
        "b.yaml: document 1: duplicate pod web in the manifest",
        "c.yaml: document 1: spec.nodeName is not supported yet",
        "d: the manifest is not YAML",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let half = vec![b' '; MAX_BYTES / 2 + 1];
    assert!(matches!(parse_files(&[("a", &half), ("b", &half)]), Err(ManifestError::TooLarge(_))));
}

#[test]
fn another_version_and_a_duplicate_key_are_told_in_plain_words() {
    let of =
        |version: &str, kind: &str| refused(&format!("{version}\nkind: {kind}\nmetadata: {{name: a}}\n"));
    assert_eq!(of("", "Pod"), "document 1: apiVersion: it is missing, and that of Pod is \"v1\"");
    assert_eq!(
        of("apiVersion: extensions/v1beta1", "Deployment"),
        "document 1: apiVersion: it is \"extensions/v1beta1\", and that of Deployment is \"apps/v1\""
    );
    assert!(of("apiVersion: v1", "Ingress").contains("\"Ingress\" of \"v1\" is not supported"));
    let twice =
        WEB.replace("  restartPolicy: OnFailure", "  restartPolicy: OnFailure\n  restartPolicy: Never");
    assert_eq!(refused(&twice), "the manifest is not YAML: duplicate key restartPolicy at line 9, column 3");
}
