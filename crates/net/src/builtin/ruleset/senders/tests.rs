use super::*;

#[test]
fn link_local_addresses_are_those_that_the_kernel_derives() {
    assert_eq!(link_local(Ipv4Addr::new(10, 208, 0, 2)).to_string(), "fe80::858:aff:fed0:2");
}

#[test]
fn keys_are_fields_of_whole_registers() {
    let sandbox = berth_types::SandboxId::from_random([1; 32]);
    let address4 = Ipv4Addr::new(10, 208, 0, 2);
    let lease = Lease { sandbox, address4, address6: None, ports: Vec::new() };
    let list = elements(&lease);
    let of = |map| list.iter().filter(|e| e.map == map).map(|e| e.key.as_slice()).collect::<Vec<_>>();
    assert_eq!(
        of(Map::Senders4),
        [b"veth0ad00002\0\0\0\0\x0a\x58\x0a\xd0\x00\x02\0\0\x0a\xd0\x00\x02".as_slice()]
    );
    assert_eq!(of(Map::Options6), [b"veth0ad00002\0\0\0\0\x0a\x58\x0a\xd0\x00\x02\0\0".as_slice()]);
    assert_eq!(of(Map::Senders6).len(), 2, "its link-local address, and none");
    assert_eq!(of(Map::Targets6).len(), 1);
}
