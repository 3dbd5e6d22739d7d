//! Services before the pods of a file.

use std::collections::BTreeSet;
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};

use berth_testkit::guard::wait_until;
use berth_testkit::{isolated, require_root};
use serde_json::Value;

use crate::home::{BUSYBOX, Home, LIMIT, fetch, program};

/// Three pods that each serve their name, one that asks, and the service between them.
fn web(replicas: u32) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports:
  - {{name: http, port: 80, targetPort: page}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: {BUSYBOX}
        command: [sh, -c, 'hostname > /tmp/index.html; touch /tmp/ready; exec httpd -f -p 8080 -h /tmp']
        ports: [{{name: page, containerPort: 8080}}]
        readinessProbe: {{periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1, exec: {{command: [sh, -c, 'test -e /tmp/ready && wget -q -O /dev/null http://127.0.0.1:8080/']}}}}
---
{}",
        asker()
    )
}

/// With a block of addresses of its own: those that daemons choose by their names may be the same by chance.
fn start() -> Home {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let block = format!("10.216.{}.0/24", NEXT.fetch_add(1, Ordering::Relaxed));
    Home::start_with(program(), &["--service-cidr", &block])
}

/// A pod that asks others.
fn asker() -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: asker}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: main, image: {BUSYBOX}, command: [sleep, '100000']}}]}}}}\n"
    )
}

fn service(home: &Home, name: &str) -> Value {
    let all = home.berth(&["services", "-o", "json"]).json();
    let found = all.as_array().unwrap().iter().find(|one| one["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no service {name}: {all}"))
}

/// Waits until a service leads to so many places by its first port.
#[track_caller]
fn wait_endpoints(home: &Home, name: &str, count: usize) -> Value {
    let mut last = Value::Null;
    let done = wait_until(LIMIT, || {
        last = service(home, name);
        last["ports"][0]["endpoints"].as_array().is_some_and(|all| all.len() == count)
    });
    assert!(done, "{name} does not lead to {count} places: {last}");
    last
}

fn address(of: &Value) -> String {
    of["clusterIPs"][0].as_str().unwrap().to_owned()
}

/// A shell line in the pod that asks.
#[track_caller]
fn ask(home: &Home, line: &str) -> String {
    let said = home.berth(&["exec", "asker", "sh", "-c", line]);
    assert_eq!(said.code, 0, "{line}: {said:?}");
    said.out
}

/// The IPv4 endpoints alone: a machine may have no IPv6.
fn only4(text: &str) -> String {
    text.replace("spec:\n  selector", "spec:\n  ipFamilies: [IPv4]\n  selector")
}

#[test]
fn the_example_of_services_answers() {
    require_root!();
    let home = start();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/services.yaml");
    home.berth(&["play", "-q", example]).fine();
    // Of each family that the machine has.
    let leads = wait_until(LIMIT, || {
        let all = service(&home, "web")["ports"][0]["endpoints"].clone();
        all.as_array().unwrap().iter().filter(|one| !one.as_str().unwrap().starts_with('[')).count() == 2
    });
    assert!(leads, "{}", service(&home, "web"));
    let ip = address(&service(&home, "web"));
    let page = fetch(&format!("{ip}:80")).unwrap();
    assert!(page.contains("Hello from a pod"), "{page}");
    home.berth(&["down", example]).fine();
    assert_eq!(home.berth(&["services", "-o", "json"]).json().as_array().unwrap().len(), 0);
}

#[test]
fn a_service_leads_to_the_pods_that_are_ready() {
    require_root!();
    let mut home = start();
    home.write("web.yaml", &only4(&web(3)));
    let said = home.berth(&["play", "-q", "web.yaml"]);
    assert!(said.err.contains("service/web made, 10."), "{said:?}");
    said.fine();
    let of = wait_endpoints(&home, "web", 3);
    let ip = address(&of);
    let pods = |seen: &mut BTreeSet<String>| {
        let all: Vec<_> = (0..40).map(|_| fetch(&format!("{ip}:80")).unwrap()).collect();
        seen.extend(all.iter().filter_map(|page| page.lines().last().map(str::to_owned)));
    };
    let mut seen = BTreeSet::new();
    pods(&mut seen);
    assert_eq!(seen.len(), 3, "{seen:?}");
    // From a pod, by each of its names.
    for name in ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"] {
        let page = ask(&home, &format!("wget -q -O - http://{name}/"));
        assert!(seen.contains(page.trim()), "{name}: {page}");
    }
    let resolv = ask(&home, "cat /etc/resolv.conf");
    assert!(
        resolv.starts_with("search default.svc.cluster.local svc.cluster.local cluster.local"),
        "{resolv}"
    );
    assert!(resolv.contains("options ndots:5"), "{resolv}");

    // One that is not ready gets no more connections.
    let one = seen.first().unwrap().clone();
    home.berth(&["exec", &one, "rm", "/tmp/ready"]).fine();
    wait_endpoints(&home, "web", 2);
    let mut left = BTreeSet::new();
    pods(&mut left);
    assert!(left.len() == 2 && !left.contains(&one), "{left:?}");

    // A daemon that is killed takes no connection with it, and the next one knows the address and who is ready.
    home.daemon.kill().unwrap();
    let mut without = BTreeSet::new();
    pods(&mut without);
    assert_eq!(without, left);
    home.daemon.start().unwrap();
    assert_eq!(address(&service(&home, "web")), ip);
    assert_eq!(service(&home, "web")["ports"][0]["endpoints"].as_array().unwrap().len(), 2);
    let mut again = BTreeSet::new();
    pods(&mut again);
    assert_eq!(again, left);
    ask(&home, "wget -q -O - http://web/");
    home.berth(&["exec", &one, "touch", "/tmp/ready"]).fine();
    wait_endpoints(&home, "web", 3);

    let out = home.berth(&["services"]).fine();
    assert!(out.contains("ClusterIP") && out.contains("80/TCP") && out.contains(&ip), "{out}");
    let out = home.berth(&["describe", "service/web"]).fine();
    assert!(out.contains("web.default.svc.cluster.local") && out.contains("app=web"), "{out}");

    // Nobody is left: refused at once.
    home.berth(&["down", "deployment/web"]).fine();
    wait_endpoints(&home, "web", 0);
    let refused = TcpStream::connect(format!("{ip}:80")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let said = home.berth(&["exec", "asker", "wget", "-q", "-O", "-", "http://web/"]);
    assert!(said.code != 0 && said.err.contains("refused"), "{said:?}");
    gone(&home, "web.yaml");
}

/// Takes a file down, and looks for what must not be left.
#[track_caller]
fn gone(home: &Home, file: &str) {
    home.berth(&["down", file]).fine();
    assert_eq!(home.berth(&["services", "-q"]).fine(), "");
    home.clean();
    let table = format!("berth-{}-services", home.daemon.instance());
    let rules = std::process::Command::new("nft").args(["list", "tables"]).output().unwrap();
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(!rules.contains(&table), "{rules}");
    let kept = std::fs::read_dir(home.daemon.dir().join("root/services")).into_iter().flatten().flatten();
    let kept: Vec<_> =
        kept.map(|e| e.file_name()).filter(|n| !n.to_string_lossy().starts_with('.')).collect();
    assert!(kept.is_empty(), "{kept:?}");
    // Neither socket nor route of the server of names.
    let pid = home.daemon.pid().unwrap();
    let sockets = std::process::Command::new("ss").args(["-tulpnH"]).output().unwrap();
    let sockets = String::from_utf8_lossy(&sockets.stdout).into_owned();
    // That of the streaming server stays, on the loopback.
    let own = |line: &&str| line.contains(&format!("pid={pid},")) && !line.contains(" 127.0.0.1:");
    assert!(!sockets.lines().any(|line| own(&line)), "{sockets}");
}

#[test]
fn names_are_answered_and_others_passed_on() {
    require_root!();
    let home = start();
    let headless = "{apiVersion: v1, kind: Service, metadata: {name: db}, spec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432}]}}";
    let set = format!(
        "{{apiVersion: apps/v1, kind: StatefulSet, metadata: {{name: db}}, spec: {{serviceName: db, replicas: 2, selector: {{matchLabels: {{app: db}}}}, template: {{metadata: {{labels: {{app: db}}}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: main, image: {BUSYBOX}, command: [sleep, '100000']}}]}}}}}}}}"
    );
    let alias = "{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {type: ExternalName, externalName: db.default.svc.cluster.local}}";
    home.write("db.yaml", &[headless, &set, alias, &asker()].join("\n---\n"));
    home.berth(&["play", "-q", "db.yaml"]).fine();
    wait_until(LIMIT, || service(&home, "db")["pods"].as_array().is_some_and(|all| all.len() == 2));
    let pods = home.berth(&["pods", "-o", "json"]).json();
    let of = |name: &str| {
        let pod = pods.as_array().unwrap().iter().find(|pod| pod["name"] == name).unwrap();
        pod["addresses"][0].as_str().unwrap().to_owned()
    };
    let (first, second) = (of("db-0"), of("db-1"));
    let lookup = |name: &str, more: &str| ask(&home, &format!("nslookup {more} {name} 2>&1"));
    let all = lookup("db.default.svc.cluster.local", "-type=a");
    assert!(all.contains(&first) && all.contains(&second), "{all}");
    let one = lookup("db-1.db.default.svc.cluster.local", "-type=a");
    assert!(one.contains(&second) && !one.contains(&first), "{one}");
    let ports = lookup("_sql._tcp.db.default.svc.cluster.local", "-type=srv");
    assert!(ports.contains("5432 db-0.db.default.svc.cluster.local"), "{ports}");
    let reverse = lookup(&first, "");
    assert!(reverse.contains("db-0.db.default.svc.cluster.local"), "{reverse}");
    let other = lookup("other.default.svc.cluster.local", "-type=a");
    assert!(other.contains("db.default.svc.cluster.local") && other.contains(&first), "{other}");
    let none = ask(&home, "nslookup -type=a none.default.svc.cluster.local 2>&1 || true");
    assert!(none.contains("NXDOMAIN"), "{none}");
    // By the resolver of a C library: short names, through the search domains.
    assert!(ask(&home, "ping -4 -c 1 -w 5 db-0.db").contains(&first));
    gone(&home, "db.yaml");
}

#[test]
fn a_changed_file_changes_the_service_and_keeps_its_address() {
    require_root!();
    let home = start();
    home.write("web.yaml", &only4(&web(1)));
    home.berth(&["play", "-q", "web.yaml"]).fine();
    let before = wait_endpoints(&home, "web", 1);
    let ip = address(&before);
    fetch(&format!("{ip}:80")).unwrap();
    assert!(home.berth(&["play", "-q", "--replace", "web.yaml"]).err.contains("service/web unchanged"));
    let changed = only4(&web(1)).replace("port: 80, targetPort", "port: 8000, targetPort");
    let changed = changed
        .replace("  selector: {app: web}\n  ports", "  type: NodePort\n  selector: {app: web}\n  ports");
    home.write("web.yaml", &changed);
    let said = home.berth(&["play", "-q", "--replace", "web.yaml"]);
    assert!(said.err.contains("service/web changed"), "{said:?}");
    said.fine();
    let after = wait_endpoints(&home, "web", 1);
    assert_eq!(address(&after), ip);
    fetch(&format!("{ip}:8000")).unwrap();
    assert!(TcpStream::connect(format!("{ip}:80")).is_err());
    let node_port = after["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30_000..=32_767).contains(&node_port), "{after}");
    fetch(&format!("127.0.0.1:{node_port}")).unwrap();
    let bad = "{apiVersion: v1, kind: Service, metadata: {name: web2}, spec: {selector: {a: b}, sessionAffinity: ClientIP, ports: [{port: 1}]}}";
    let err = home.feed(&["play", "-q", "-"], bad.as_bytes()).refused();
    assert!(err.contains("Service web2: spec.sessionAffinity"), "{err}");
    gone(&home, "web.yaml");
}

/// A socket of a test's own in the network namespace of a pod.
fn inside(home: &Home, pod: &str, port: u16) -> UdpSocket {
    let pid = home.wait_state(pod, "main", "running")["pid"].as_u64().unwrap();
    let network = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    let socket = isolated::inside(&network, || UdpSocket::bind(("0.0.0.0", port)).unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

#[test]
fn a_service_of_udp_leaves_a_pod_that_is_removed() {
    require_root!();
    let home = start();
    // A pod that is made before there are services depends on no daemon.
    home.feed(&["play", "-q", "-"], asker().as_bytes()).fine();
    assert!(!ask(&home, "cat /etc/resolv.conf").contains("cluster.local"));
    home.berth(&["down", "-t", "0", "asker"]).fine();

    let service = "{apiVersion: v1, kind: Service, metadata: {name: log}, spec: {type: LoadBalancer, ipFamilies: [IPv4], selector: {app: log}, ports: [{port: 514, targetPort: 5140, protocol: UDP}]}}\n";
    let pod = |name: &str| {
        let labels = format!("{{name: {name}, labels: {{app: log}}}}");
        asker().replace("{name: asker}", &labels)
    };
    home.write("log.yaml", &[service, &pod("one"), &pod("two")].join("---\n"));
    let said = home.berth(&["play", "-q", "log.yaml"]);
    assert!(said.err.contains("LoadBalancer is taken as NodePort"), "{said:?}");
    said.fine();
    let of = wait_endpoints(&home, "log", 2);
    let (ip, node_port) = (address(&of), of["ports"][0]["nodePort"].as_u64().unwrap());
    let servers = ["one", "two"].map(|name| inside(&home, name, 5140));
    // Each from a socket of its own: a flow stays with its pod.
    let sent = |to: &str| {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.send_to(b"ping", to).unwrap();
        let mut found = None;
        assert!(wait_until(LIMIT, || {
            found = servers.iter().position(|server| server.recv_from(&mut [0; 8]).is_ok());
            found.is_some()
        }));
        found.unwrap()
    };
    for to in [format!("{ip}:514"), format!("127.0.0.1:{node_port}")] {
        let seen: BTreeSet<_> = (0..40).map(|_| sent(&to)).collect();
        assert_eq!(seen, BTreeSet::from([0, 1]), "{to}");
    }
    home.berth(&["rm", "-f", "one"]).fine();
    wait_endpoints(&home, "log", 1);
    for _ in 0..20 {
        assert_eq!(sent(&format!("{ip}:514")), 1);
    }
    // They hold the pods' namespaces.
    drop(servers);
    gone(&home, "log.yaml");
}
