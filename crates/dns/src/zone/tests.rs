use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn zone() -> Zone {
    let blocks = vec![Block::new("10.212.0.0".parse().unwrap(), 20)];
    let mut zone = Zone::new(&name("cluster.local"), &["10.212.0.10".parse().unwrap()], blocks);
    zone.add(name("web.default.svc.cluster.local"), Data::A("10.212.0.11".parse().unwrap()));
    zone.add(name("db.default.svc.cluster.local"), Data::Cname(name("db.example.com")));
    zone.add(
        Name::of_address("10.212.0.11".parse().unwrap()),
        Data::Ptr(name("web.default.svc.cluster.local")),
    );
    zone
}

#[test]
fn a_name_is_known_or_not_or_of_others() {
    let zone = zone();
    let find = |text: &str, kind| zone.find(&name(text), kind);
    let web = Data::A("10.212.0.11".parse().unwrap());
    assert_eq!(find("WEB.default.svc.cluster.local", kind::A), Found::Records(vec![&web]));
    assert_eq!(find("web.default.svc.cluster.local", kind::ANY), Found::Records(vec![&web]));
    assert_eq!(find("web.default.svc.cluster.local", kind::AAAA), Found::Nothing);
    // Names above are there, though nothing is said of them.
    assert_eq!(find("default.svc.cluster.local", kind::A), Found::Nothing);
    assert_eq!(find("svc.cluster.local", kind::A), Found::Nothing);
    assert_eq!(find("other.default.svc.cluster.local", kind::A), Found::NoName);
    assert_eq!(find("a.web.default.svc.cluster.local", kind::A), Found::NoName);
    assert_eq!(find("web.default.svc.cluster.local.example.com", kind::A), Found::Elsewhere);
    assert_eq!(find("local", kind::A), Found::Elsewhere);
    let target = name("db.example.com");
    assert_eq!(find("db.default.svc.cluster.local", kind::A), Found::Alias(&target));
    let alias = Data::Cname(target);
    assert_eq!(find("db.default.svc.cluster.local", kind::CNAME), Found::Records(vec![&alias]));
    let server = name("ns.dns.cluster.local");
    assert_eq!(find("cluster.local", kind::NS), Found::Records(vec![&Data::Ns(server.clone())]));
    assert_eq!(zone.addresses(&server).count(), 1);
}

#[test]
fn addresses_of_services_have_names_here_or_none() {
    let zone = zone();
    let find = |ip: &str| zone.find(&Name::of_address(ip.parse().unwrap()), kind::PTR);
    assert!(matches!(find("10.212.0.11"), Found::Records(_)));
    assert_eq!(find("10.212.0.12"), Found::NoName);
    assert_eq!(find("10.213.0.12"), Found::Elsewhere);
    assert_eq!(find("::1"), Found::Elsewhere);
}

proptest! {
    /// Whatever is added: each name is found with all of its data, and those above it are there.
    #[test]
    fn what_is_added_is_found(hosts in prop::collection::btree_map("[a-z]{1,8}(\\.[a-z]{1,8}){0,3}", any::<u32>(), 0..20)) {
        let domain = name("cluster.local");
        let mut zone = Zone::new(&domain, &[], Vec::new());
        for (host, ip) in &hosts {
            zone.add(name(&format!("{host}.svc.cluster.local")), Data::A(Ipv4Addr::from_bits(*ip)));
        }
        for (host, ip) in &hosts {
            let of = name(&format!("{host}.svc.cluster.local"));
            let data = Data::A(Ipv4Addr::from_bits(*ip));
            prop_assert_eq!(zone.find(&of, kind::A), Found::Records(vec![&data]));
            prop_assert_eq!(zone.find(&of, kind::SRV), Found::Nothing);
            let mut above = of.parent();
            while let Some(parent) = above.filter(|parent| parent.is_within(&domain)) {
                prop_assert_ne!(zone.find(&parent, 16), Found::NoName);
                above = parent.parent();
            }
        }
    }
}
