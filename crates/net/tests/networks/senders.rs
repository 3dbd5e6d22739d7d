//! A pod that may do anything in its own namespace cannot send under another's address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use berth_net::Builtin;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use crate::world::{HOST4, Ns, Pod, World, ip, receive, require_root, tcp, wait_until};

/// A pod that tries, one whose addresses it tries, and one that observes.
struct Scene {
    world: World,
    _net: Builtin,
    attacker: Pod,
    victim: Pod,
    witness: Pod,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let net = world.open();
        let [attacker, victim, witness] = [1, 2, 3].map(|id| world.pod(&net, id, &[]));
        Self { world, _net: net, attacker, victim, witness }
    }

    /// Removes the rules: what they prevented happens then, which shows that the test detects it.
    fn unprotect(&self) {
        self.world.host.sh("nft flush ruleset");
    }

    fn gateway(&self, v6: bool) -> IpAddr {
        self.attacker.attachment.gateways[usize::from(v6)]
    }

    /// The hardware address that the host knows for an address.
    fn known_to_host(&self, address: IpAddr) -> String {
        let line = self.world.host.sh(&format!("ip neigh show {address} dev berth0"));
        line.split("lladdr ").nth(1).unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
    }

    /// The host and the victim have spoken to each other.
    fn acquaint(&self) {
        let server = self.victim.ns.udp(90);
        for address in self.victim.attachment.addresses.clone() {
            self.world.host.talk_udp((address, 90), &server);
        }
    }
}

fn mac(pod: &Pod) -> String {
    let IpAddr::V4(address) = pod.ip4() else { panic!("IPv4 comes first") };
    let [a, b, c, d] = address.octets();
    format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn bytes_of(mac: &str) -> Vec<u8> {
    mac.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// Sends a packet from this address, which the pod has given itself.
fn send_as(pod: &Pod, from: IpAddr, to: (IpAddr, u16)) {
    pod.ns.run(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        // When the neighbour is not found the packet is lost, which also prevents it from sending.
        let _sent = socket.send_to(b"ping", to);
    });
}

#[test]
fn no_packet_comes_from_anothers_address() {
    require_root!("no_packet_comes_from_anothers_address");
    let scene = Scene::new();
    let Scene { attacker, victim, witness, .. } = &scene;
    for v6 in [false, true] {
        let stolen = victim.attachment.addresses[usize::from(v6)];
        let own = attacker.attachment.addresses[usize::from(v6)];
        let at_once = if v6 { "nodad" } else { "" };
        attacker.ns.sh(&format!("ip addr add {stolen} dev lo {at_once}"));
        for (server, to) in [
            (scene.world.host.udp(91), scene.gateway(v6)),
            (witness.ns.udp(91), witness.attachment.addresses[usize::from(v6)]),
        ] {
            // No neighbour has to be looked for after this.
            attacker.ns.talk_udp((to, 91), &server);
            send_as(attacker, stolen, (to, 91));
            send_as(attacker, own, (to, 91));
            assert_eq!(receive(&server).ip().to_canonical(), own, "{to}: the first one was dropped");
        }
    }
    scene.unprotect();
    for v6 in [false, true] {
        let stolen = victim.attachment.addresses[usize::from(v6)];
        let server = scene.world.host.udp(91);
        send_as(attacker, stolen, (scene.gateway(v6), 91));
        assert_eq!(receive(&server).ip().to_canonical(), stolen);
    }
}

#[test]
fn no_frame_comes_from_anothers_hardware_address() {
    require_root!("no_frame_comes_from_anothers_hardware_address");
    let scene = Scene::new();
    let Scene { attacker, victim, .. } = &scene;
    scene.acquaint();
    let (own, stolen) = (mac(attacker), mac(victim));
    let port = |address: &str| {
        let text = scene.world.host.sh("bridge fdb show br berth0");
        let line = text.lines().find(|line| line.starts_with(address)).unwrap_or_default().to_owned();
        line.split("dev ").nth(1).unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(port(&stolen), victim.attachment.host_interface);
    let gateway = scene.gateway(false);
    let try_it = |to_mac: &str| {
        attacker.ns.sh(&format!(
            "ip link set eth0 address {stolen}; ip neigh replace {gateway} lladdr {to_mac} dev eth0"
        ));
        send_as(attacker, attacker.ip4(), (gateway, 92));
        attacker.ns.sh(&format!("ip link set eth0 address {own}; ip neigh flush dev eth0"));
        let server = scene.world.host.udp(93);
        attacker.ns.talk_udp((gateway, 93), &server);
    };
    let bridge = scene.world.host.sh("ip -o link show berth0");
    let bridge = bridge.split("link/ether ").nth(1).unwrap()[..17].to_owned();
    // The last ones are reserved: the bridge looks at such frames itself, whatever filters there are.
    for to in [bridge.as_str(), "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:03", "01:80:c2:00:00:0e"] {
        try_it(to);
        assert_eq!(port(&stolen), victim.attachment.host_interface, "{to}");
    }
    let learnt = |to: &str| {
        victim.ns.talk_udp((gateway, 94), &scene.world.host.udp(94));
        assert_eq!(port(&stolen), victim.attachment.host_interface);
        // A frame of the victim's own may move it back before it is looked at.
        wait_until(to, || {
            try_it(to);
            port(&stolen) == attacker.attachment.host_interface
        });
    };
    scene.world.host.sh("ip link set berth0 type bridge no_linklocal_learn 0");
    learnt("01:80:c2:00:00:0e");
    scene.unprotect();
    learnt(&bridge);
}

#[test]
fn no_packet_reaches_the_host_past_the_bridge() {
    require_root!("no_packet_reaches_the_host_past_the_bridge");
    let scene = Scene::new();
    let Scene { attacker, victim, .. } = &scene;
    let gateway = scene.gateway(false);
    let server = scene.world.host.udp(91);
    attacker.ns.sh(&format!("ip addr add {} dev lo", victim.ip4()));
    let past = || {
        attacker.ns.sh(&format!("ip neigh replace {gateway} lladdr 01:80:c2:00:00:0e dev eth0"));
        send_as(attacker, victim.ip4(), (gateway, 91));
        attacker.ns.sh(&format!("ip neigh del {gateway} dev eth0"));
    };
    past();
    send_as(attacker, attacker.ip4(), (gateway, 91));
    assert_eq!(receive(&server).ip().to_canonical(), attacker.ip4());
    scene.unprotect();
    past();
    assert_eq!(receive(&server).ip().to_canonical(), victim.ip4());
}

#[test]
fn no_neighbour_takes_an_arp_message_for_anothers_address() {
    require_root!("no_neighbour_takes_an_arp_message_for_anothers_address");
    let scene = Scene::new();
    let Scene { attacker, victim, .. } = &scene;
    let gateway = scene.gateway(false);
    scene.acquaint();
    assert_eq!(scene.known_to_host(victim.ip4()), mac(victim));
    let server = scene.world.host.udp(91);
    // A request asks under the address that the packet would be sent under.
    let request = || {
        attacker.ns.sh(&format!("ip addr replace {} dev lo; ip neigh flush dev eth0", victim.ip4()));
        send_as(attacker, victim.ip4(), (gateway, 92));
        attacker.ns.sh(&format!("ip addr del {} dev lo; ip neigh flush dev eth0", victim.ip4()));
    };
    request();
    attacker.ns.talk_udp((gateway, 91), &server);
    assert_eq!(scene.known_to_host(victim.ip4()), mac(victim));
    // An answer to the host claims another address than the one asked for.
    let lie = format!(
        "nft 'add table arp lie; add chain arp lie out {{ type filter hook output priority 0; }}'
         nft add rule arp lie out arp operation reply arp saddr ip set {} counter",
        victim.ip4()
    );
    let answer = || {
        attacker.ns.sh(&lie);
        scene.world.host.sh("ip neigh flush dev berth0");
        scene.acquaint();
        scene.world.host.run(|| {
            UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"ping", (attacker.ip4(), 93)).unwrap();
        });
        wait_until("the forged answer is sent", || {
            !attacker.ns.sh("nft list table arp lie").contains("counter packets 0 ")
        });
        attacker.ns.sh("nft delete table arp lie");
    };
    answer();
    attacker.ns.talk_udp((gateway, 91), &server);
    assert_eq!(scene.known_to_host(victim.ip4()), mac(victim));

    scene.unprotect();
    wait_until("the host believes it", || {
        // What has been learnt stays for a second (`locktime`).
        request();
        scene.known_to_host(victim.ip4()) == mac(attacker)
    });
}

/// A socket for whole ICMPv6 messages; its hop limit is that of neighbour discovery.
fn icmp6(pod: &Pod, from: Option<Ipv6Addr>) -> OwnedFd {
    pod.ns.run(|| {
        let kind = SocketType::RAW;
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET6, kind, flags, Some(ipproto::ICMPV6)).unwrap();
        sockopt::set_ipv6_unicast_hops(&socket, Some(255)).unwrap();
        sockopt::set_ipv6_multicast_hops(&socket, 255).unwrap();
        let limit = Some(Duration::from_secs(10));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, limit).unwrap();
        if let Some(from) = from {
            rustix::net::bind(&socket, &SocketAddr::from((from, 0))).unwrap();
        }
        socket
    })
}

/// A message: its type, four bytes (flags), the target, an option with a hardware address.
fn message(kind: u8, flags: u8, target: IpAddr, option: u8, mac: &str) -> Vec<u8> {
    let IpAddr::V6(target) = target else { panic!("IPv6") };
    let mut bytes = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    bytes.extend_from_slice(&target.octets());
    bytes.extend_from_slice(&[option, 1]);
    bytes.extend_from_slice(&bytes_of(mac));
    bytes
}

const ECHO: u8 = 128;

/// What of `messages` reaches the witness, by their types; an echo request marks the end.
fn heard(scene: &Scene, listener: &OwnedFd, messages: &[Vec<u8>]) -> Vec<u8> {
    let IpAddr::V6(own) = scene.attacker.ip6() else { panic!("IPv6") };
    let socket = icmp6(&scene.attacker, Some(own));
    let to = SocketAddr::from((scene.witness.ip6(), 0));
    for bytes in messages.iter().chain([&vec![ECHO, 0, 0, 0, 7, 7, 7, 7]]) {
        rustix::net::sendto(&socket, bytes, SendFlags::empty(), &to).unwrap();
    }
    let mut kinds = Vec::new();
    loop {
        let mut buffer = [0_u8; 128];
        let (read, _, from) = rustix::net::recvfrom(listener, &mut buffer[..], RecvFlags::empty()).unwrap();
        let from = from.and_then(|from| SocketAddr::try_from(from).ok());
        if read == 0 || from.is_none_or(|from| from.ip() != scene.attacker.ip6()) {
            continue;
        }
        if buffer[0] == ECHO {
            return kinds;
        }
        kinds.push(buffer[0]);
    }
}

#[test]
fn no_pod_can_advertise_anothers_ipv6_address_or_a_router() {
    require_root!("no_pod_can_advertise_anothers_ipv6_address_or_a_router");
    let scene = Scene::new();
    let Scene { attacker, victim, witness, .. } = &scene;
    let listener = icmp6(witness, None);
    let (own, stolen) = (mac(attacker), mac(victim));
    // Neighbours have found each other: what comes next are these messages alone.
    attacker.ns.talk_udp((witness.ip6(), 90), &witness.ns.udp(90));
    heard(&scene, &listener, &[]);

    let fine = [
        message(136, 0x20, attacker.ip6(), 2, &own),
        message(136, 0x20, attacker.ip6(), 2, &own)[..24].to_vec(),
        message(135, 0, witness.ip6(), 1, &own),
    ];
    // On a busy machine a message may overtake another one, so that a later round hears it.
    wait_until("the valid ones are received", || heard(&scene, &listener, &fine) == [136, 136, 135]);

    let mut hidden = message(136, 0x20, attacker.ip6(), 14, &own);
    hidden.extend_from_slice(&message(136, 0, victim.ip6(), 2, &stolen)[24..]);
    let forged = [
        message(136, 0x20, victim.ip6(), 2, &own),
        message(136, 0x20, victim.ip6(), 2, &own)[..24].to_vec(),
        message(136, 0x20, attacker.ip6(), 2, &stolen),
        message(135, 0, witness.ip6(), 1, &stolen),
        hidden,
        // A router's advertisement, its solicitation, and a redirect.
        vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![133, 0, 0, 0, 0, 0, 0, 0],
        [message(137, 0, attacker.ip6(), 2, &own)[..24].to_vec(), vec![0; 16]].concat(),
    ];
    assert_eq!(heard(&scene, &listener, &forged), Vec::<u8>::new());

    // What they would have done.
    scene.acquaint();
    let tell_host = || {
        let IpAddr::V6(address) = attacker.ip6() else { panic!("IPv6") };
        let socket = icmp6(attacker, Some(address));
        let to = SocketAddr::from((scene.gateway(true), 0));
        rustix::net::sendto(&socket, &forged[0], SendFlags::empty(), &to).unwrap();
        let server = scene.world.host.udp(91);
        attacker.ns.talk_udp((scene.gateway(true), 91), &server);
    };
    tell_host();
    assert_eq!(scene.known_to_host(victim.ip6()), stolen);
    scene.unprotect();
    tell_host();
    wait_until("the host believes it", || scene.known_to_host(victim.ip6()) == own);
    wait_until("all are received", || heard(&scene, &listener, &forged).len() >= forged.len());
}

#[test]
fn what_ipv6_needs_on_a_link_goes_on() {
    require_root!("what_ipv6_needs_on_a_link_goes_on");
    let scene = Scene::new();
    let Scene { attacker: pod, witness, .. } = &scene;
    witness.ns.sh(&format!(
        "nft add table ip6 w; nft 'add chain ip6 w in {{ type filter hook prerouting priority -300; }}'
         nft add rule ip6 w in ether saddr {} icmpv6 type mld2-listener-report counter
         nft add rule ip6 w in ip6 saddr :: icmpv6 type nd-neighbor-solicit counter comment probes",
        mac(pod)
    ));
    pod.ns.sh("nft add table ip6 w; nft 'add chain ip6 w out { type filter hook output priority 0; }'
         nft add rule ip6 w out icmpv6 type mld2-listener-report counter");
    // A pod that looks for duplicates of its addresses, when its interface comes up once more.
    pod.ns.sh(&format!(
        "echo 1 > /proc/sys/net/ipv6/conf/eth0/accept_dad; echo 1 > /proc/sys/net/ipv6/conf/all/accept_dad
         ip link set eth0 down; ip link set eth0 up; ip addr add {}/64 dev eth0",
        pod.ip6()
    ));
    wait_until("the addresses are its own", || {
        let addresses = pod.ns.sh("ip -6 -o addr show dev eth0");
        assert!(!addresses.contains("dadfailed"), "{addresses}");
        !addresses.contains("tentative") && addresses.lines().count() == 2
    });
    let counted = |pod: &Pod, what: &str| {
        let table = pod.ns.sh("nft list table ip6 w");
        !table.lines().find(|line| line.contains(what)).unwrap().contains("counter packets 0 ")
    };
    wait_until("probes are heard", || counted(witness, "probes"));
    wait_until("reports of groups are sent", || counted(pod, "mld2-listener-report"));
    let server = pod.ns.listen(80);
    witness.ns.talk((pod.ip6(), 80), &server);
    // The bridge would copy them to every pod.
    assert!(!counted(witness, "mld2-listener-report"));
    // Link-local addresses reach each other, too.
    let line = pod.ns.sh("ip -6 -o addr show dev eth0 scope link");
    let local = line.split_whitespace().nth(3).unwrap().split('/').next().unwrap().to_owned();
    let index =
        witness.ns.sh("cat /proc/net/dev_mcast").lines().find(|l| l.contains("eth0")).unwrap().to_owned();
    let scope: u32 = index.split_whitespace().next().unwrap().parse().unwrap();
    let address = std::net::SocketAddrV6::new(local.parse().unwrap(), 80, 0, scope);
    let connect = || std::net::TcpStream::connect_timeout(&address.into(), Duration::from_secs(10));
    witness.ns.run(connect).unwrap();
    // Packets that come in pieces.
    let big = [7_u8; 6000];
    for address in pod.attachment.addresses.clone() {
        let to = pod.ns.udp(94);
        witness.ns.run(|| {
            let from = UdpSocket::bind(("::", 0)).unwrap();
            let to = match address {
                IpAddr::V4(ip) => IpAddr::from(ip.to_ipv6_mapped()),
                IpAddr::V6(_) => address,
            };
            from.send_to(&big, (to, 94)).unwrap();
        });
        let mut buffer = vec![0; 8000];
        assert_eq!(to.recv_from(&mut buffer).unwrap().0, big.len());
    }
}

#[test]
fn pods_are_held_to_their_addresses_after_a_restart_a_reload_and_an_upgrade() {
    require_root!("pods_are_held_to_their_addresses_after_a_restart_a_reload_and_an_upgrade");
    let world = World::new();
    let net = world.open();
    let attacker = world.pod(&net, 1, &[tcp(8080, 80)]);
    let victim = world.pod(&net, 2, &[]);
    let gateway = attacker.attachment.gateways[0];
    let server = world.host.udp(91);
    let web = attacker.ns.listen(80);
    attacker.ns.sh(&format!("ip addr add {} dev lo", victim.ip4()));
    let check = |what: &str| {
        attacker.ns.talk_udp((gateway, 91), &server);
        send_as(&attacker, victim.ip4(), (gateway, 91));
        send_as(&attacker, attacker.ip4(), (gateway, 91));
        assert_eq!(receive(&server).ip().to_canonical(), attacker.ip4(), "{what}");
        world.outside.talk((ip(HOST4), 8080), &web);
    };
    check("at first");
    let bridge = || world.host.sh("nft list table bridge berth");
    let before = bridge();
    for harm in ["nft flush ruleset", "nft flush table bridge berth", "nft delete table bridge berth"] {
        world.host.sh(harm);
        world.host.run(|| net.verify().unwrap());
        assert_eq!(bridge(), before, "{harm}");
        check(harm);
    }
    drop(net);
    check("without a daemon");
    // A version before this one made neither the table nor the group.
    let port = &attacker.attachment.host_interface;
    world.host.sh(&format!("nft delete table bridge berth; ip link set {port} group default"));
    let net = world.open();
    assert_eq!(bridge(), before);
    check("after an upgrade");
    // A removed pod must not send any more.
    world.host.run(|| net.detach(&attacker.id).unwrap());
    assert!(!bridge().contains(port.as_str()));
    send_as(&attacker, attacker.ip4(), (gateway, 91));
    let other = victim.ns.udp(0);
    crate::world::ask_udp(&other, (gateway, 91));
    assert_eq!(receive(&server).ip().to_canonical(), victim.ip4());
    world.host.run(|| net.purge().unwrap());
    assert!(!world.host.sh("nft list tables").contains("berth"));
}

#[test]
fn what_operators_or_an_older_version_connect_is_not_filtered() {
    require_root!("what_operators_or_an_older_version_connect_is_not_filtered");
    let world = World::new();
    let net = world.open();
    let pod = world.pod(&net, 1, &[]);
    let machine = Ns::new();
    machine.run(|| {
        let (pid, fd) = (std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&world.host.fd()));
        let command = format!(
            "ip link add eth0 type veth peer name veth0ad00909 netns /proc/{pid}/fd/{fd}
             ip addr add 10.208.9.9/20 dev eth0; ip link set eth0 up"
        );
        assert!(std::process::Command::new("sh").arg("-ec").arg(command).status().unwrap().success());
    });
    world.host.sh("ip link set veth0ad00909 master berth0 up");
    let server = pod.ns.listen(80);
    assert_eq!(machine.talk((pod.ip4(), 80), &server), ip("10.208.9.9"));
}
