use super::*;

fn instance(name: &str) -> Config {
    Config::for_instance(name, "machine", PathBuf::from("/dir"))
}

#[test]
fn the_first_instance_has_the_plain_names() {
    let config = instance("");
    assert_eq!((config.bridge.as_str(), config.table.as_str()), ("berth0", "berth"));
    assert_eq!(config.candidates().next().unwrap().to_string(), "10.208.0.0/20");
}

#[test]
fn instances_differ_in_every_name_and_block() {
    let (a, b) = (instance("a"), instance("b"));
    assert_eq!(a.bridge, "berth-a");
    assert_ne!(a.table, b.table);
    assert_ne!(a.cidr6, b.cidr6);
    assert_ne!(a.candidates().next(), b.candidates().next());
    let long = instance("a-name-of-some-length");
    assert!(long.bridge.len() <= MAX_INTERFACE_NAME, "{}", long.bridge);
    assert_ne!(long.bridge, instance("a-name-of-some-other").bridge);
}

#[test]
fn candidates_are_disjoint_blocks_of_private_networks() {
    for name in ["", "a"] {
        let all: Vec<_> = instance(name).candidates().collect();
        assert_eq!(all.len(), 3 * 64);
        for (i, a) in all.iter().enumerate() {
            assert!(a.base().is_private() && a.pods() >= 253, "{a}");
            assert!(all[i + 1..].iter().all(|b| !a.overlaps(b)));
        }
    }
}

#[test]
fn the_ipv6_block_is_unique_local() {
    let Ipv6::IfAvailable(block) = instance("").cidr6 else { panic!("derived") };
    assert_eq!(block.base().octets()[0], 0xfd);
    assert_eq!(block.base().octets()[6..], [0; 10]);
    assert_eq!(block.prefix(), 64);
}
