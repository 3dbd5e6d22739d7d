use super::*;
use crate::manifest::parse;
use crate::plan::{Node, Place, Plan, plan};

fn planned(spec: &str) -> Result<Plan, String> {
    let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {spec}}}");
    let place = Place {
        uid: "u".into(),
        dir: "/p/u".into(),
        claims: "/claims".into(),
        addresses: Vec::new(),
        node: Node::default(),
        cluster: None,
        env_files: Default::default(),
        user: None,
    };
    let pod = parse(text.as_bytes()).map_err(|e| e.to_string())?.remove(0);
    plan(&pod, &place).map_err(|e| e.to_string())
}

fn with(fields: &str) -> Result<Plan, String> {
    let ports = "ports: [{name: web, containerPort: 8080}], env: [{name: A, value: b}]";
    planned(&format!("{{containers: [{{name: c, image: 'a.io/x:1', {ports}, {fields}}}]}}"))
}

fn probes(fields: &str) -> Probes {
    with(fields).unwrap_or_else(|e| panic!("{fields}: {e}")).main[0].probes.clone()
}

#[test]
fn defaults_are_those_of_the_api_server() {
    let spec = probes("livenessProbe: {exec: {command: [test, '$(A)', '$(B)']}}").liveness.unwrap();
    let expected = Spec {
        check: Check::Exec(vec!["test".into(), "b".into(), "$(B)".into()]),
        delay: Duration::ZERO,
        period: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        successes: 1,
        failures: 3,
        grace: None,
    };
    assert_eq!(spec, expected);
    let zero = "periodSeconds: 0, timeoutSeconds: 0, successThreshold: 0, failureThreshold: 0";
    let spec = probes(&format!("startupProbe: {{{zero}, tcpSocket: {{port: web}}}}")).startup.unwrap();
    assert_eq!(spec, Spec { check: Check::Tcp { host: None, port: 8080 }, ..expected });
}

#[test]
fn every_field_of_a_probe_is_taken() {
    let times = "initialDelaySeconds: 1, periodSeconds: 2, timeoutSeconds: 3, failureThreshold: 4";
    let http =
        "{port: web, path: '/h?a=b', host: example.com, scheme: HTTPS, httpHeaders: [{name: X-A, value: v}]}";
    let spec = probes(&format!("readinessProbe: {{{times}, successThreshold: 5, httpGet: {http}}}"));
    let check = Check::Http(HttpGet {
        tls: true,
        host: Some("example.com".into()),
        port: 8080,
        path: "/h?a=b".into(),
        headers: vec![("X-A".into(), "v".into())],
    });
    let seconds = Duration::from_secs;
    let expected = Spec {
        check,
        delay: seconds(1),
        period: seconds(2),
        timeout: seconds(3),
        successes: 5,
        failures: 4,
        grace: None,
    };
    assert_eq!(spec.readiness.unwrap(), expected);
    let spec = probes("livenessProbe: {terminationGracePeriodSeconds: 7, grpc: {port: 9, service: s}}");
    let spec = spec.liveness.unwrap();
    assert_eq!(spec.grace, Some(7));
    assert_eq!(spec.check, Check::Grpc { port: 9, service: "s".into() });
    let spec = probes("livenessProbe: {httpGet: {port: 80}}").liveness.unwrap();
    let Check::Http(get) = spec.check else { panic!("{spec:?}") };
    assert_eq!((get.path.as_str(), get.tls, get.host, get.port), ("/", false, None, 80));
}

#[test]
fn what_the_api_server_refuses_is_refused_by_its_path() {
    let exec = "exec: {command: [x]}";
    for (fields, at, message) in [
        ("livenessProbe: {}", "livenessProbe", "Required value: must specify a handler type"),
        (
            "livenessProbe: {exec: {command: [x]}, grpc: {port: 1}}",
            "livenessProbe.grpc",
            "Forbidden: may not specify more than 1 handler type",
        ),
        ("livenessProbe: {exec: {}}", "livenessProbe.exec.command", "Required value"),
        ("livenessProbe: {grpc: {port: 0}}", "livenessProbe.grpc.port", "Invalid value: 0: must be between"),
        ("livenessProbe: {tcpSocket: {port: 65536}}", "tcpSocket.port", "Invalid value: 65536: must be"),
        ("livenessProbe: {tcpSocket: {port: '80'}}", "tcpSocket.port", "Invalid value: \"80\": the name"),
        ("livenessProbe: {tcpSocket: {port: a--b}}", "tcpSocket.port", "Invalid value: \"a--b\""),
        ("livenessProbe: {tcpSocket: {port: other}}", "tcpSocket.port", "Not found: \"other\""),
        (
            "readinessProbe: {httpGet: {port: 1, scheme: http}}",
            "httpGet.scheme",
            "Unsupported value: \"http\"",
        ),
        (
            "readinessProbe: {httpGet: {port: 1, httpHeaders: [{name: 'a b', value: v}]}}",
            "httpGet.httpHeaders[0].name",
            "Invalid value: \"a b\"",
        ),
        ("readinessProbe: {httpGet: {port: 1, protocol: HTTP2}}", "httpGet.protocol", "not supported yet"),
        ("readinessProbe: {grpc: {port: 1, mode: TLS}}", "grpc.mode", "not supported yet"),
        ("readinessProbe: {grpc: {port: 1, mode: tls}}", "grpc.mode", "Unsupported value: \"tls\""),
        (
            "readinessProbe: {exec: {command: [x]}, terminationGracePeriodSeconds: 1}",
            "readinessProbe.terminationGracePeriodSeconds",
            "Invalid value: 1: must not be set for readinessProbes",
        ),
        (
            "startupProbe: {exec: {command: [x]}, terminationGracePeriodSeconds: 0}",
            "startupProbe.terminationGracePeriodSeconds",
            "Invalid value: 0: must be greater than 0",
        ),
        ("lifecycle: {preStop: {}}", "lifecycle.preStop", "Required value: must specify a handler type"),
        ("lifecycle: {postStart: {tcpSocket: {port: 1}}}", "postStart.tcpSocket", "Forbidden"),
        ("lifecycle: {preStop: {sleep: {seconds: 31}}}", "preStop.sleep", "Invalid value: 31"),
        ("lifecycle: {preStop: {sleep: {seconds: -1}}}", "preStop.sleep", "Invalid value: -1"),
        ("lifecycle: {stopSignal: TERM}", "lifecycle.stopSignal", "Unsupported value: \"TERM\""),
        ("lifecycle: {stopSignal: SIGRTMIN+16}", "lifecycle.stopSignal", "Unsupported value"),
    ] {
        let error = with(fields).expect_err(fields);
        assert!(
            error.contains(&format!("{at}: {message}")) || error.contains(&format!("{at} is {message}")),
            "{error}"
        );
    }
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold"] {
        let error = with(&format!("livenessProbe: {{{exec}, {field}: -1}}")).expect_err(field);
        let message = format!("livenessProbe.{field}: Invalid value: -1: must be greater than or equal to 0");
        assert!(error.contains(&message), "{error}");
    }
    for kind in ["livenessProbe", "startupProbe"] {
        let error = with(&format!("{kind}: {{{exec}, successThreshold: 2}}")).expect_err(kind);
        assert!(error.contains(&format!("{kind}.successThreshold: Invalid value: 2: must be 1")), "{error}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let error =
        with("livenessProbe: {httpGet: {port: 0, scheme: ftp}, periodSeconds: -2, timeoutSeconds: -3}")
            .unwrap_err();
    assert!(error.starts_with("4 faults"), "{error}");
}

#[test]
fn hooks_and_the_signal() {
    let plan = with(
        "lifecycle: {postStart: {exec: {command: [a, '$(A)']}}, preStop: {sleep: {seconds: 30}}, stopSignal: SIGRTMIN+3}",
    )
    .unwrap();
    let c = &plan.main[0];
    // A kubelet expands nothing in the command of a hook.
    assert_eq!(c.hooks.post_start, Some(Hook::Exec(vec!["a".into(), "$(A)".into()])));
    assert_eq!(c.hooks.pre_stop, Some(Hook::Sleep(Duration::from_secs(30))));
    assert_eq!(c.config.stop_signal.as_deref(), Some("SIGRTMIN+3"));
    for signal in ["SIGTERM", "SIGRTMIN", "SIGRTMAX-14"] {
        let plan = with(&format!("lifecycle: {{stopSignal: {signal}}}")).unwrap();
        assert_eq!(plan.main[0].config.stop_signal.as_deref(), Some(signal));
        assert_eq!(plan.main[0].hooks, Hooks::default());
    }
    let plan = with("lifecycle: {preStop: {httpGet: {port: web, path: /bye}}}").unwrap();
    let Some(Hook::Http(get)) = &plan.main[0].hooks.pre_stop else { panic!("{plan:?}") };
    assert_eq!((get.port, get.path.as_str()), (8080, "/bye"));
}

#[test]
fn init_containers_have_neither() {
    let init = "initContainers: [{name: i, image: 'a.io/x:1', livenessProbe: {exec: {command: [x]}}, lifecycle: {}}]";
    let error = planned(&format!("{{{init}, containers: [{{name: c, image: 'a.io/x:1'}}]}}")).unwrap_err();
    for field in ["livenessProbe", "lifecycle"] {
        let fault = format!("spec.initContainers[0].{field}: Forbidden: may not be set for init containers");
        assert!(error.contains(&fault), "{error}");
    }
}

#[test]
fn a_port_is_a_number_or_a_name() {
    let error = with("livenessProbe: {tcpSocket: {port: [1]}}").unwrap_err();
    assert!(
        error.contains("livenessProbe.tcpSocket.port: invalid type: expected the number or the name"),
        "{error}"
    );
}

#[test]
fn an_init_container_that_is_always_run_again_is_a_sidecar() {
    let with = |policy: &str| {
        let init = format!(
            "{{name: i, image: 'a.io/x:1', restartPolicy: {policy}, livenessProbe: {{exec: {{command: [x]}}}}}}"
        );
        planned(&format!("{{initContainers: [{init}], containers: [{{name: c, image: 'a.io/x:1'}}]}}"))
    };
    let plan = with("Always").unwrap();
    assert!(plan.init[0].sidecar && plan.init[0].probes.liveness.is_some());
    assert!(!plan.main[0].sidecar);
    for policy in ["Never", "OnFailure"] {
        let error = with(policy).unwrap_err();
        assert!(error.contains("spec.initContainers[0].restartPolicy is not supported yet"), "{error}");
    }
    let error = planned("{containers: [{name: c, image: 'a.io/x:1', restartPolicy: Always}]}").unwrap_err();
    assert!(error.contains("spec.containers[0].restartPolicy is not supported yet"), "{error}");
}
