use super::*;
use crate::port::Protocol;

fn id(n: u8) -> SandboxId {
    SandboxId::from_random([n; 32])
}

fn pool(cidr: &str) -> Pool {
    Pool::new(cidr.parse().unwrap(), Some("fd00::/64".parse().unwrap()), 0)
}

fn port(host_port: u16) -> PortMapping {
    PortMapping { protocol: Protocol::Tcp, host_ip: None, host_port, container_port: 80 }
}

#[test]
fn addresses_are_handed_out_in_turn_and_rest_when_given_back() {
    let mut pool = pool("10.0.0.0/29");
    let take = |pool: &mut Pool, n| pool.take(&id(n), &[], true, |_| true).unwrap().address4.octets()[3];
    assert_eq!(take(&mut pool, 1), 2);
    assert_eq!(take(&mut pool, 2), 3);
    pool.give_back(&id(1), false);
    assert_eq!(take(&mut pool, 3), 4);
    assert_eq!(take(&mut pool, 4), 5);
    assert_eq!(take(&mut pool, 5), 6);
    assert_eq!(take(&mut pool, 6), 2, "the block begins again");
}

#[test]
fn both_families_have_the_same_offset() {
    let lease = pool("10.0.0.0/24").take(&id(1), &[], true, |_| true).unwrap();
    assert_eq!(lease.address4.to_string(), "10.0.0.2");
    assert_eq!(lease.address6.unwrap().to_string(), "fd00::2");
}

#[test]
fn a_pod_may_be_without_ipv6() {
    let lease = pool("10.0.0.0/24").take(&id(1), &[], false, |_| true).unwrap();
    assert_eq!(lease.address6, None);
}

#[test]
fn a_draining_address_is_used_when_its_interface_is_gone() {
    let mut pool = pool("10.0.0.0/30");
    pool.take(&id(1), &[], true, |_| true).unwrap();
    pool.give_back(&id(1), true).unwrap();
    let refusal = pool.take(&id(2), &[], true, |_| false).unwrap_err();
    assert_eq!(refusal, Refusal::Exhausted { leases: 0, draining: 1 });
    assert_eq!(pool.take(&id(2), &[], true, |_| true).unwrap().address4.to_string(), "10.0.0.2");
}

#[test]
fn exhaustion_counts_what_holds_the_addresses() {
    let mut pool = pool("10.0.0.0/29");
    for n in 1..=5 {
        pool.take(&id(n), &[], true, |_| true).unwrap();
    }
    let refusal = pool.take(&id(6), &[], true, |_| true).unwrap_err();
    assert_eq!(refusal, Refusal::Exhausted { leases: 5, draining: 0 });
    assert_eq!(super::Pool::new("10.0.0.0/31".parse().unwrap(), None, 0).find(|_| true), None);
}

#[test]
fn a_port_has_one_holder() {
    let mut pool = pool("10.0.0.0/24");
    pool.take(&id(1), &[port(80)], true, |_| true).unwrap();
    let refusal = pool.take(&id(2), &[port(81), port(80)], true, |_| true).unwrap_err();
    assert_eq!(refusal, Refusal::PortTaken { port: port(80), holder: id(1) });
    pool.give_back(&id(1), true);
    pool.take(&id(2), &[port(80)], true, |_| true).unwrap();
}

#[test]
fn a_pod_is_attached_once() {
    let mut pool = pool("10.0.0.0/24");
    pool.take(&id(1), &[], true, |_| true).unwrap();
    assert_eq!(pool.take(&id(1), &[], true, |_| true).unwrap_err(), Refusal::AlreadyAttached);
    assert!(pool.give_back(&id(1), false).is_some());
    assert!(pool.give_back(&id(1), false).is_none());
}

#[test]
fn leases_are_restored_unless_outside_or_taken() {
    let mut pool = Pool::new("10.0.0.0/24".parse().unwrap(), None, 7);
    let lease =
        |n, ip: &str| Lease { sandbox: id(n), address4: ip.parse().unwrap(), address6: None, ports: vec![] };
    assert!(pool.restore(lease(1, "10.0.0.8")));
    assert!(!pool.restore(lease(2, "10.0.0.8")));
    assert!(!pool.restore(lease(3, "10.0.1.8")));
    pool.drain(9);
    let next = pool.take(&id(4), &[], true, |_| false).unwrap();
    assert_eq!(next.address4.to_string(), "10.0.0.10");
}

proptest::proptest! {
    /// Whatever is taken and given back, no address has two holders and none is outside.
    #[test]
    fn no_address_has_two_holders(steps in proptest::collection::vec((0_u8..20, proptest::bool::ANY), 0..200)) {
        let mut pool = pool("10.0.0.0/28");
        for (n, attach) in steps {
            if attach {
                let _refused = pool.take(&id(n), &[], true, |offset| offset % 2 == 0);
            } else {
                pool.give_back(&id(n), n % 3 == 0);
            }
            let mut seen: Vec<_> = pool.leases().map(|lease| lease.address4).collect();
            seen.sort();
            let count = seen.len();
            seen.dedup();
            proptest::prop_assert_eq!(seen.len(), count);
            proptest::prop_assert!(seen.iter().all(|ip| (2..15).contains(&ip.octets()[3])));
        }
    }
}
