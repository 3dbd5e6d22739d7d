//! What the engine relies on in every pod network: one suite, run over each implementation.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use berth_net::{
    AttachError, AttachRequest, Attached, Cni, CniConfig, CniLimits, Garbage, Inventory, Loopback, NetError,
    NetworkStatus, PodNetwork,
};
use berth_types::SandboxId;

use crate::cni::world::{PLUGINS, require_plugins};
use crate::world::{Ns, World, ip, require_root, sandbox, tcp, wait_until};

/// Makes the network of a host, or what a later daemon finds there.
type Make = fn(&World) -> Arc<dyn PodNetwork>;

fn attach(
    world: &World,
    net: &dyn PodNetwork,
    id: &SandboxId,
    netns: BorrowedFd<'_>,
) -> Result<Attached, NetError> {
    let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
    let request = AttachRequest {
        sandbox: id,
        name: "pod",
        namespace: "default",
        uid: "",
        annotations: &BTreeMap::new(),
        netns,
        netns_path: Some(path.as_ref()),
        dns: None,
        ports: &[],
    };
    world.host.run(|| net.attach(&request))
}

/// The addresses that an interface other than `lo` has, apart from link-local ones.
fn addresses(ns: &Ns) -> HashSet<IpAddr> {
    let text = ns.sh("ip -o addr show scope global");
    let words = text.lines().filter_map(|line| line.split_whitespace().nth(3));
    words.map(|word| ip(word.split('/').next().unwrap())).collect()
}

fn network_suite(make: Make) {
    let world = World::new();
    let net = make(&world);
    let (first, second) = (Ns::pod(), Ns::pod());
    let (id, other) = (sandbox(1), sandbox(2));

    let attached = attach(&world, &*net, &id, first.fd()).unwrap();
    assert!(first.sh("ip -o link show lo").contains("LOOPBACK,UP"));
    assert_eq!(
        attached.addresses.iter().copied().collect::<HashSet<_>>(),
        addresses(&first),
        "no more, no less"
    );
    assert_eq!(attached.interface.is_some(), !attached.addresses.is_empty());
    world.host.run(|| net.check(&id).unwrap());

    // A request that fails leaves nothing, and the same pod can be attached afterwards.
    let before = world.host.run(|| net.inventory().unwrap());
    let null = std::fs::File::open("/dev/null").unwrap();
    attach(&world, &*net, &other, null.as_fd()).unwrap_err();
    assert_eq!(world.host.run(|| net.inventory().unwrap()), before);
    let another = attach(&world, &*net, &other, second.fd()).unwrap();
    assert!(another.addresses.iter().all(|ip| !attached.addresses.contains(ip)));

    // A later daemon finds what was attached, and the pod is as it was.
    let before = world.host.run(|| net.inventory().unwrap());
    drop(net);
    let net = make(&world);
    world.host.run(|| {
        net.check(&id).unwrap();
        net.verify().unwrap();
        assert_eq!(net.inventory().unwrap(), before);
        assert_eq!(net.sweep(&HashSet::from([id.clone(), other.clone()])).unwrap(), Inventory::default());
    });
    assert_eq!(attached.addresses.iter().copied().collect::<HashSet<_>>(), addresses(&first));

    // Detached twice, also without the namespace, and one that never was.
    drop(first);
    world.host.run(|| {
        for id in [&id, &id, &sandbox(9)] {
            net.detach(id).unwrap();
        }
        if !attached.addresses.is_empty() {
            let error = net.check(&id).unwrap_err();
            assert!(matches!(error, NetError::NotAttached { .. }), "{error:?}");
        }
        assert!(!net.inventory().unwrap().sandboxes.contains(&id));
        // What no record names is removed.
        let swept = net.sweep(&HashSet::new()).unwrap();
        assert_eq!(swept.sandboxes.contains(&other), !another.addresses.is_empty());
    });
    wait_until("nothing is left", || world.host.run(|| net.inventory().unwrap()) == Inventory::default());

    // After the end nothing comes back.
    world.host.run(|| {
        net.purge().unwrap();
        let links = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap().lines().count();
        let before = links();
        net.verify().unwrap();
        net.detach(&id).unwrap();
        net.purge().unwrap();
        assert_eq!((net.inventory().unwrap(), links()), (Inventory::default(), before));
        assert!(matches!(net.status(), NetworkStatus::NotReady { .. }));
    });
}

#[test]
fn the_builtin_network_is_a_pod_network() {
    require_root!("the_builtin_network_is_a_pod_network");
    network_suite(|world| Arc::new(world.open()));
}

#[test]
fn cni_is_a_pod_network() {
    require_plugins!("cni_is_a_pod_network");
    network_suite(|world| {
        let (conf_dir, data) = (world.dir().join("net.d"), world.dir().join("data"));
        std::fs::create_dir_all(&conf_dir).unwrap();
        let list = serde_json::json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": { "type": "host-local", "dataDir": data, "subnet": "10.9.0.0/24" },
        }] });
        std::fs::write(conf_dir.join("10.conflist"), list.to_string()).unwrap();
        let config = CniConfig {
            conf_dir,
            bin_dirs: vec![PLUGINS.into()],
            dir: world.dir().join("records"),
            garbage: Garbage::Collect,
            limits: CniLimits::default(),
        };
        Arc::new(world.host.run(|| Cni::open(config).unwrap()))
    });
}

#[test]
fn no_network_is_a_pod_network() {
    require_root!("no_network_is_a_pod_network");
    network_suite(|_| Arc::new(Loopback));
}

#[test]
fn a_network_without_addresses_is_never_ready_and_takes_no_ports() {
    require_root!("a_network_without_addresses_is_never_ready_and_takes_no_ports");
    let status = Loopback.status();
    let NetworkStatus::NotReady { reason, message } = &status else { panic!("{status:?}") };
    assert_eq!(*reason, "NetworkPluginNotReady");
    assert!(message.contains("--network none"), "{message}");
    let ns = Ns::pod();
    let request = AttachRequest {
        sandbox: &sandbox(1),
        name: "pod",
        namespace: "default",
        uid: "",
        annotations: &BTreeMap::new(),
        netns: ns.fd(),
        netns_path: None,
        dns: None,
        ports: &[tcp(8080, 80)],
    };
    let error = Loopback.attach(&request).unwrap_err();
    assert_eq!(error.to_string(), "host port 8080/tcp: a pod without a network has no ports to map");
}

#[test]
fn the_status_follows_what_becomes_of_the_bridge() {
    require_root!("the_status_follows_what_becomes_of_the_bridge");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let net: &dyn PodNetwork = &net;
    assert_eq!(net.status(), NetworkStatus::Ready);
    // In the place of the bridge something that must not be touched.
    world.host.sh("ip link del berth0; ip link add berth0 type bridge");
    world.host.run(|| net.verify().unwrap_err());
    let status = net.status();
    let NetworkStatus::NotReady { reason, message } = &status else { panic!("{status:?}") };
    assert_eq!(*reason, "NetworkPluginNotReady");
    assert!(message.contains("interface berth0 exists"), "{message}");
    let error = world.host.run(|| net.check(&pod.id).unwrap_err());
    assert!(matches!(error, NetError::Unplugged { .. }), "the addresses are still the pod's: {error:?}");
    world.host.sh("ip link del berth0");
    world.host.run(|| {
        net.verify().unwrap();
        net.check(&pod.id).unwrap();
    });
    assert_eq!(net.status(), NetworkStatus::Ready);
}

#[test]
fn an_address_is_not_free_while_the_lease_of_a_failed_attach_is_on_disk() {
    require_root!("an_address_is_not_free_while_the_lease_of_a_failed_attach_is_on_disk");
    let world = World::new();
    let config = berth_net::Config { cidr4: Some("10.9.0.0/30".parse().unwrap()), ..world.config() };
    let net = world.open_with(config.clone());
    let in_the_way = config.dir.join("leases").join(sandbox(1).as_str());
    std::fs::create_dir(&in_the_way).unwrap();
    let ns = Ns::pod();
    let attach = |id: u8| world.host.run(|| net.attach(&sandbox(id), ns.fd(), &[tcp(8080, 80)]));
    let error = attach(1).unwrap_err();
    assert!(matches!(error, AttachError::Lease { .. }), "{error:?}");
    let error = attach(2).unwrap_err();
    assert!(
        matches!(error, AttachError::PortTaken { .. }),
        "accounted for, and its address with it: {error:?}"
    );
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(attach(2).unwrap().addresses[0], ip("10.9.0.2"));
}

#[test]
fn what_a_detach_could_not_give_back_is_given_back_later() {
    require_root!("what_a_detach_could_not_give_back_is_given_back_later");
    let world = World::new();
    let config = berth_net::Config { cidr4: Some("10.9.0.0/30".parse().unwrap()), ..world.config() };
    let net = world.open_with(config.clone());
    let pod = world.pod(&net, 1, &[tcp(8080, 80)]);
    let lease = config.dir.join("leases").join(pod.id.as_str());
    // A file system that refuses: the file's place is taken by a directory.
    let break_it = || {
        std::fs::remove_file(&lease).unwrap();
        std::fs::create_dir(&lease).unwrap();
    };
    break_it();
    world.host.run(|| net.detach(&pod.id).unwrap_err());
    world.host.run(|| net.verify().unwrap_err());
    assert_eq!(net.leases().len(), 1, "it is still accounted for");
    std::fs::remove_dir(&lease).unwrap();
    world.host.run(|| net.verify().unwrap());
    assert!(net.leases().is_empty());

    // Without anything that looks: the next pod needs the address.
    drop(pod);
    wait_until("the interface goes", || net.orphans().unwrap().is_empty());
    let pod = world.pod(&net, 2, &[tcp(8080, 80)]);
    let lease = config.dir.join("leases").join(pod.id.as_str());
    std::fs::remove_file(&lease).unwrap();
    std::fs::create_dir(&lease).unwrap();
    world.host.run(|| net.detach(&pod.id).unwrap_err());
    std::fs::remove_dir(&lease).unwrap();
    drop(pod);
    wait_until("the interface goes", || !world.host.can("ip link show veth0a090002"));
    world.pod(&net, 3, &[tcp(8080, 80)]);
}
