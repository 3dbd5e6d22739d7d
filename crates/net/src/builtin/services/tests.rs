use proptest::prelude::*;

use super::*;

fn plan() -> Plan {
    Plan {
        table: "t-services".to_owned(),
        bridge: "br".to_owned(),
        network: ServiceNetwork {
            cidr4: "10.212.0.0/20".parse().unwrap(),
            cidr6: Some("fd00:0:0:1::/112".parse().unwrap()),
            pods4: "10.208.0.0/20".parse().unwrap(),
            pods6: Some("fd00::/64".parse().unwrap()),
            gateway4: "10.208.0.1".parse().unwrap(),
            gateway6: Some("fd00::1".parse().unwrap()),
        },
    }
}

fn built(services: &Services) -> usize {
    let mut batch = Batch::new(None);
    plan().build(&mut batch, services);
    batch.rules()
}

#[test]
fn a_port_without_places_has_no_rule() {
    let none = built(&Services { active: true, ports: Vec::new() });
    let port = |front, to: &[&str]| Balanced {
        front,
        protocol: Protocol::Tcp,
        port: 80,
        to: to.iter().map(|to| to.parse().unwrap()).collect(),
    };
    let with = |port: Balanced| built(&Services { active: true, ports: vec![port] }) - none;
    let v4 = Front::Address("10.212.0.11".parse().unwrap());
    assert_eq!(with(port(v4, &[])), 0);
    assert_eq!(with(port(v4, &["10.208.0.2:80"])), 1);
    // Places of the other family are not led to.
    assert_eq!(with(port(v4, &["[fd00::2]:80"])), 0);
    assert_eq!(with(port(Front::Host, &["10.208.0.2:80", "[fd00::2]:80"])), 2);
}

proptest! {
    /// A rule for each place of the family of its address, and none for pods without a service.
    #[test]
    fn there_are_as_many_rules_as_places(
        ports in prop::collection::vec((0_u8..3, any::<u16>(), prop::collection::vec((any::<bool>(), any::<u32>(), 1_u16..), 0..40)), 0..20)
    ) {
        let none = built(&Services { active: true, ports: Vec::new() });
        let mut wanted = 0;
        let mut services = Services { active: true, ports: Vec::new() };
        for (front, port, to) in ports {
            let front = match front {
                0 => Front::Address("10.212.0.11".parse().unwrap()),
                1 => Front::Address("fd00:0:0:1::b".parse().unwrap()),
                _ => Front::Host,
            };
            let place = |(v6, ip, port): (bool, u32, u16)| match v6 {
                false => SocketAddr::new(Ipv4Addr::from_bits(ip).into(), port),
                true => SocketAddr::new(Ipv6Addr::from_bits(ip.into()).into(), port),
            };
            let to: Vec<_> = to.into_iter().map(place).collect();
            wanted += match front {
                Front::Address(ip) => to.iter().filter(|to| to.is_ipv4() == ip.is_ipv4()).count(),
                Front::Host => to.len(),
            };
            services.ports.push(Balanced { front, protocol: Protocol::Tcp, port, to });
        }
        prop_assert_eq!(built(&services) - none, wanted);
    }
}
