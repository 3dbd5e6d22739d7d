//! Who a container is, and what it sees.

use crate::node::Node;

pub fn users_and_groups_are_obeyed(node: &Node) {
    node.apply(
        "users",
        "
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000, supplementalGroups: [4000], runAsNonRoot: true}
  containers:
  - name: c
    image: BUSYBOX
    command:
    - sh
    - -c
    - |
      echo $(id -u) $(id -g) $(id -G); touch /volume/x && stat -c '%u %g' /volume/x
      grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t' | tr '\\n' ' '; echo
      touch /x 2>&1
      exec sleep 3600
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
      seccompProfile: {type: RuntimeDefault}
    volumeMounts: [{name: volume, mountPath: /volume}]
  volumes: [{name: volume, emptyDir: {}}]
",
    );
    let pod = node.ready("users");
    let log = node.log(&pod, "c", 4);
    let expected = [
        "1000 2000 2000 3000 4000",
        "1000 3000",
        "CapBnd:0000000000000400 CapEff:0000000000000000 NoNewPrivs:1 Seccomp:2 ",
        "touch: /x: Read-only file system",
    ];
    let sorted = |line: &str| {
        let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        words.sort();
        words
    };
    for (line, expected) in log.iter().zip(expected) {
        assert_eq!(sorted(line), sorted(expected), "{log:#?}");
    }
    let user = &pod.container("c").status()["user"]["linux"];
    assert_eq!((&user["uid"], &user["gid"]), (&1000.into(), &2000.into()), "{pod:#?}");
    node.end("users");
}

/// Contract 30: decided by the kubelet from what the image's status says.
pub fn run_as_non_root_refuses_root(node: &Node) {
    node.apply(
        "non-root",
        "
spec:
  containers:
  - {name: c, image: BUSYBOX, command: [sleep, '3600'], securityContext: {runAsNonRoot: true}}
",
    );
    let refused = "CreateContainerConfigError";
    let pod =
        node.pod("non-root", "it is refused", |pod| pod.get("c").is_some_and(|c| c.waits_for() == refused));
    assert_eq!(node.containers(&pod), []);
    node.end("non-root");
}

/// Contract 11: such a pod has no address of the runtime's, and its sandbox is not made again for that.
pub fn the_hosts_network_is_the_nodes(node: &Node) {
    node.apply(
        "host-network",
        "
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: BUSYBOX, command: [sh, -c, 'ls /proc/sys/net/ipv4/conf | grep -c node0; hostname; exec sleep 3600']}
",
    );
    let pod = node.ready("host-network");
    assert_eq!(pod.address(), "");
    assert_eq!(node.log(&pod, "c", 2), ["1".to_owned(), hostname()]);
    let sandboxes = node.cri().pods().unwrap().into_iter();
    let sandboxes = sandboxes.filter(|s| s.metadata.as_ref().is_some_and(|m| m.uid == pod.uid()));
    assert_eq!(sandboxes.map(|s| s.metadata.unwrap().attempt).collect::<Vec<_>>(), [0]);
    node.end("host-network");
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub fn a_shared_process_namespace_is_shared(node: &Node) {
    node.apply(
        "processes",
        "
spec:
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: BUSYBOX, command: [sleep, '3601']}
  - name: sees
    image: BUSYBOX
    command: [sh, -c, 'until ps | grep -q \"slee[p] 3601\"; do sleep 0.1; done; test $$ = 1 || echo not the first; exec sleep 3600']
",
    );
    let pod = node.ready("processes");
    assert_eq!(node.log(&pod, "sees", 1), ["not the first"]);
    node.end("processes");
}

pub fn sysctls_names_and_hosts_are_set(node: &Node) {
    node.apply(
        "names",
        "
spec:
  hostname: own-name
  terminationGracePeriodSeconds: 0
  securityContext:
    sysctls: [{name: kernel.shm_rmid_forced, value: '1'}, {name: net.ipv4.ip_local_port_range, value: 40000 50000}]
  hostAliases: [{ip: 192.0.2.7, hostnames: [alias]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.53], searches: [one.test, two.test], options: [{name: ndots, value: '3'}]}
  containers:
  - name: c
    image: BUSYBOX
    command:
    - sh
    - -c
    - |
      hostname
      cat /proc/sys/kernel/shm_rmid_forced
      echo $(cat /proc/sys/net/ipv4/ip_local_port_range)
      echo $(grep alias /etc/hosts)
      cat /etc/resolv.conf
      exec sleep 3600
",
    );
    let pod = node.ready("names");
    let expected = [
        "own-name",
        "1",
        "40000 50000",
        "192.0.2.7 alias",
        // Contract 15.
        "search one.test two.test",
        "nameserver 192.0.2.53",
        "options ndots:3",
    ];
    assert_eq!(node.log(&pod, "c", expected.len()), expected);
    node.end("names");
}
