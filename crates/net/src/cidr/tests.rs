use super::*;

#[test]
fn a_block_parses_prints_and_clears_host_bits() {
    let block: Cidr4 = "10.1.2.3/16".parse().unwrap();
    assert_eq!(block.to_string(), "10.1.0.0/16");
    let block: Cidr6 = "fd00:1::7/64".parse().unwrap();
    assert_eq!(block.to_string(), "fd00:1::/64");
}

#[test]
fn what_is_not_a_block_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "expected an address, / and a length"),
        ("10.0.0.0", "expected an address, / and a length"),
        ("10.0.0/8", "the address is malformed"),
        ("10.0.0.0/x", "the length is not a number"),
        ("10.0.0.0/33", "the length is above 32"),
        ("fd00::/8", "the address is malformed"),
    ] {
        assert_eq!(text.parse::<Cidr4>().unwrap_err().reason, reason, "{text}");
    }
}

#[test]
fn addresses_are_counted_from_the_base() {
    let block: Cidr4 = "10.9.8.0/30".parse().unwrap();
    assert_eq!(block.pods(), 1);
    assert_eq!(block.nth(2), Some(Ipv4Addr::new(10, 9, 8, 2)));
    assert_eq!(block.nth(4), None);
    assert_eq!(block.offset(Ipv4Addr::new(10, 9, 8, 3)), Some(3));
    assert_eq!(block.offset(Ipv4Addr::new(10, 9, 9, 3)), None);
    assert_eq!("0.0.0.0/0".parse::<Cidr4>().unwrap().pods(), u32::MAX - 2);
    assert_eq!("10.0.0.0/31".parse::<Cidr4>().unwrap().pods(), 0);
    assert_eq!("10.0.0.0/32".parse::<Cidr4>().unwrap().pods(), 0);
    assert_eq!("10.0.0.0/16".parse::<Cidr4>().unwrap().pods(), 65_533);
}

#[test]
fn overlap_is_symmetric() {
    let block = |text: &str| text.parse::<Cidr4>().unwrap();
    for (a, b, expected) in [
        ("10.0.0.0/8", "10.5.0.0/16", true),
        ("10.5.0.0/16", "10.5.0.0/16", true),
        ("10.5.0.0/16", "10.6.0.0/16", false),
        ("0.0.0.0/0", "10.6.0.0/16", true),
    ] {
        assert_eq!(block(a).overlaps(&block(b)), expected);
        assert_eq!(block(b).overlaps(&block(a)), expected);
    }
}
