//! What a collector of traces sees of a kubelet's calls.

use std::collections::BTreeSet;
use std::process::Command;

use berth_cri::api;
use berth_testkit::collector::{Answer, Collector, Seen, tree};
use berth_testkit::{require_root, wait_until};

use crate::cri::{self, Cri};
use crate::home::{BUSYBOX, Home, LIMIT, program};
use crate::world::{WAITS, World};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const KUBELET: &str = "b7ad6b7169203331";

/// A request as a kubelet makes it that traces.
fn traced<T>(message: T, flags: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let parent = format!("00-{TRACE}-{KUBELET}-{flags}").parse().unwrap();
    request.metadata_mut().insert("traceparent", parent);
    request
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn world(arguments: &[&str]) -> World {
    let home = Home::start_with(program(), arguments);
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let cri = Cri::connect(&home.daemon.socket()).unwrap();
    World { home, cri }
}

/// Starts a pod with a container by traced calls: both ids.
fn started(world: &World, config: &api::PodSandboxConfig) -> (String, String) {
    let run = api::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
    let pod =
        world.cri.call(async |mut c| c.run_pod_sandbox(traced(run, "01")).await).unwrap().pod_sandbox_id;
    let create = api::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(cri::shell("c", config, WAITS)),
        sandbox_config: Some(config.clone()),
    };
    let created = world.cri.call(async |mut c| c.create_container(traced(create, "01")).await).unwrap();
    let container = created.container_id;
    let start = api::StartContainerRequest { container_id: container.clone() };
    world.cri.call(async |mut c| c.start_container(traced(start, "01")).await).unwrap();
    (pod, container)
}

const CALLS: [&str; 3] = ["RunPodSandbox", "CreateContainer", "StartContainer"];

fn call<'a>(seen: &'a [Seen], method: &str) -> &'a Seen {
    let name = format!("runtime.v1.RuntimeService/{method}");
    seen.iter().find(|seen| seen.span.name == name).unwrap_or_else(|| panic!("no {method}: {}", tree(seen)))
}

/// The names of the steps of a span.
fn steps<'a>(seen: &'a [Seen], of: &Seen) -> BTreeSet<&'a str> {
    let parts = seen.iter().filter(|seen| seen.span.parent_span_id == of.span.span_id);
    parts.map(|seen| seen.span.name.as_str()).collect()
}

#[test]
#[allow(clippy::print_stdout, reason = "the tree is for people")]
fn a_pods_start_is_a_tree_below_the_kubelets_span() {
    require_root!();
    let collector = Collector::grpc().unwrap();
    let endpoint = format!("http://{}", collector.address());
    // Nothing but what the kubelet keeps.
    let arguments =
        ["--trace-protocol", "grpc", "--trace-sampling-ratio", "0", "--trace-endpoint", &endpoint];
    let world = world(&arguments);
    let config = world.config("traced");
    let (pod, container) = started(&world, &config);
    let untold = api::PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose: false };
    world.cri.call(async |mut c| c.pod_sandbox_status(traced(untold, "00")).await).unwrap();

    let names = |seen: &[Seen]| -> BTreeSet<String> {
        let methods = seen.iter().filter_map(|seen| seen.attribute("rpc.method"));
        methods.collect()
    };
    let is_whole = |seen: &[Seen]| {
        let has = |name: &str| seen.iter().any(|seen| seen.span.name == name);
        // The shim's steps come behind the call.
        ["execve", "process", "record", "log"].into_iter().all(has)
            && CALLS.iter().all(|name| names(seen).contains(*name))
    };
    let seen = collector.wait(is_whole);
    let seen = seen.unwrap_or_else(|| panic!("{}", tree(&collector.seen())));
    println!("{}", tree(&seen));

    let of_kubelet: Vec<_> = seen.iter().filter(|seen| hex(&seen.span.parent_span_id) == KUBELET).collect();
    assert_eq!(of_kubelet.len(), CALLS.len(), "{}", tree(&seen));
    assert!(seen.iter().all(|seen| hex(&seen.span.trace_id) == TRACE), "{seen:?}");
    for name in CALLS {
        let one = call(&seen, name);
        assert_eq!(one.attribute("sandbox.id").as_deref(), Some(pod.as_str()), "{one:?}");
        let uid = &config.metadata.as_ref().unwrap().uid;
        assert_eq!(one.attribute("k8s.pod.uid").as_ref(), Some(uid), "{one:?}");
        assert_eq!(one.resource.get("service.name").map(String::as_str), Some("berth"));
        for part in seen.iter().filter(|seen| seen.span.parent_span_id == one.span.span_id) {
            let (inner, outer) = (&part.span, &one.span);
            assert!(inner.start_time_unix_nano >= outer.start_time_unix_nano, "{}", tree(&seen));
            // The shim's event answers the call, a moment before the shim's answer ends the step.
            assert!(inner.start_time_unix_nano <= outer.end_time_unix_nano, "{}", tree(&seen));
        }
    }
    let has = |name: &str, wanted: &[&str]| {
        let steps = steps(&seen, call(&seen, name));
        assert!(wanted.iter().all(|step| steps.contains(step)), "{name}: {steps:?}");
    };
    has("RunPodSandbox", &["intent", "namespaces", "network", "shim", "pod cgroup", "shim told", "files"]);
    has("CreateContainer", &["snapshot", "specification", "cgroup", "handler", "shim create"]);
    has("StartContainer", &["shim start"]);
    for (step, wanted) in [("shim create", &["process", "record", "log"][..]), ("shim start", &["execve"])] {
        let of = seen.iter().find(|seen| seen.span.name == step).unwrap();
        assert_eq!(steps(&seen, of), BTreeSet::from_iter(wanted.iter().copied()), "{}", tree(&seen));
    }
    assert_eq!(call(&seen, "StartContainer").attribute("container.id"), Some(container));
    world.cri.remove_pod(&pod).unwrap();
    world.finish();
}

/// The same by the variables that every program with OpenTelemetry knows, and by HTTP.
#[test]
fn the_usual_variables_say_where_traces_go() {
    require_root!();
    let collector = Collector::http().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("berth");
    let text = format!(
        "#!/bin/sh\nexport OTEL_EXPORTER_OTLP_ENDPOINT=http://{} OTEL_SERVICE_NAME=node-7\nexec {} \"$@\"\n",
        collector.address(),
        program().display()
    );
    berth_testkit::executable::script(&script, &text);
    let home = Home::start_by(&script);
    let cri = Cri::connect(&home.daemon.socket()).unwrap();
    cri.call(async |mut c| c.version(api::VersionRequest::default()).await).unwrap();
    let seen = collector.wait(|seen| !seen.is_empty()).expect("a span");
    let version = call(&seen, "Version");
    // Nobody said anything of sampling.
    assert!(version.span.parent_span_id.is_empty(), "{version:?}");
    assert_eq!(version.resource.get("service.name").map(String::as_str), Some("node-7"));
    home.clean();
}

#[test]
fn a_collector_that_hangs_or_is_away_slows_no_pod_and_is_told_of_once() {
    require_root!();
    let collector = Collector::grpc().unwrap();
    let endpoint = format!("http://{}", collector.address());
    let world = world(&["--trace-protocol", "grpc", "--trace-endpoint", &endpoint]);
    collector.answers(Answer::Hangs);
    let config = world.config("hanging");
    let (pod, _) = started(&world, &config);
    world.cri.remove_pod(&pod).unwrap();
    // From now on nobody listens there.
    drop(collector);
    let told = || world.home.daemon.log().matches("the collector does not take traces").count();
    let again = || world.cri.call(async |mut c| c.version(api::VersionRequest::default()).await).unwrap();
    assert!(
        wait_until(LIMIT, || {
            again();
            told() > 0
        }),
        "{}",
        world.home.daemon.log()
    );
    let config = world.config("alone");
    let (pod, _) = started(&world, &config);
    world.cri.remove_pod(&pod).unwrap();
    assert_eq!(told(), 1, "{}", world.home.daemon.log());
    world.finish();
}

#[test]
fn what_is_no_collector_is_refused_at_the_start() {
    let said = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.env_remove("BERTH_HOST").args(["config", "check"]).args(arguments);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "trace-endpoint = \"localhost:4317\"\n").unwrap();
    let (fine, text) = said(&["--config", &file.display().to_string()]);
    assert!(!fine && text.contains("trace-endpoint") && text.contains("http://HOST:PORT"), "{text}");
}

#[test]
fn lines_of_the_log_have_the_ids_of_pod_container_and_trace() {
    require_root!();
    let world = world(&["--log-format", "json", "--log-level", "debug"]);
    let config = world.config("told");
    let (pod, container) = started(&world, &config);
    world.cri.remove_pod(&pod).unwrap();
    let log = world.home.daemon.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let uid = &config.metadata.as_ref().unwrap().uid;
    let has = |line: &serde_json::Value, fields: &[(&str, &str)]| {
        fields.iter().all(|(name, value)| line[*name].as_str() == Some(*value))
    };
    let of_pod = [("pod_uid", uid.as_str()), ("sandbox_id", &pod)];
    let steps: Vec<_> = lines.iter().filter(|line| line["message"] == "pod sandbox").collect();
    assert!(steps.len() >= 3 && steps.iter().all(|line| has(line, &of_pod)), "{log}");
    // Ready was asked for by a call with a trace, stopping by one without.
    let traced: Vec<_> = steps.iter().filter(|line| has(line, &[("trace_id", TRACE)])).collect();
    assert!(traced.iter().any(|line| line["to"] == "ready"), "{log}");
    assert!(traced.len() < steps.len(), "{log}");
    let start =
        lines.iter().find(|line| line["verb"] == "start_container").unwrap_or_else(|| panic!("{log}"));
    let of_container = [of_pod[0], of_pod[1], ("container_id", container.as_str()), ("trace_id", TRACE)];
    assert!(has(start, &of_container), "{start}");
    world.finish();
}
