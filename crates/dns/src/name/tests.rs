use proptest::prelude::*;

use super::*;

#[test]
fn names_are_read_in_any_case_and_shown() {
    let name: Name = "Web.Default.svc.cluster.local".parse().unwrap();
    assert_eq!(name.bytes(), b"\x03web\x07default\x03svc\x07cluster\x05local\0");
    assert_eq!(name.to_string(), "web.default.svc.cluster.local.");
    assert_eq!(Name::root().to_string(), ".");
    assert_eq!("".parse(), Ok(Name::root()));
    assert_eq!("a..b".parse::<Name>(), Err(NameError::Empty));
    assert_eq!("x".repeat(64).parse::<Name>(), Err(NameError::TooLong));
    assert_eq!(["x"; 128].join(".").parse::<Name>(), Err(NameError::TooLong));
    assert!(["x"; 127].join(".").parse::<Name>().is_ok());
}

#[test]
fn a_name_is_within_those_above_it() {
    let name: Name = "web.cluster.local".parse().unwrap();
    for (above, within) in [
        ("cluster.local", true),
        ("local", true),
        ("", true),
        ("web.cluster.local", true),
        ("b.cluster.local", false),
        ("ocal", false),
        ("a.web.cluster.local", false),
    ] {
        assert_eq!(name.is_within(&above.parse().unwrap()), within, "{above}");
    }
    assert_eq!(name.parent().unwrap().to_string(), "cluster.local.");
    assert_eq!(Name::root().parent(), None);
}

#[test]
fn addresses_have_names() {
    let v4 = Name::of_address("10.1.2.3".parse().unwrap());
    assert_eq!(v4.to_string(), "3.2.1.10.in-addr.arpa.");
    let v6 = Name::of_address("2001:db8::567:89ab".parse().unwrap());
    // The example of RFC 3596.
    let wanted = "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.";
    assert_eq!(v6.to_string(), wanted);
    assert_eq!("1.10.in-addr.arpa".parse::<Name>().unwrap().address(), None);
    assert_eq!("256.0.0.10.in-addr.arpa".parse::<Name>().unwrap().address(), None);
}

#[test]
fn pointers_lead_back_or_are_refused() {
    let message = b"\x03web\0\x01a\xc0\x00\xc0\x05";
    assert_eq!(Name::read(message, 5, true), Ok(("a.web".parse().unwrap(), 9)));
    assert_eq!(Name::read(message, 9, true), Ok(("a.web".parse().unwrap(), 11)));
    assert_eq!(Name::read(message, 5, false), Err(NameError::Pointer));
    // To itself, forward, and in a circle.
    assert_eq!(Name::read(b"\xc0\x00", 0, true), Err(NameError::Pointer));
    assert_eq!(Name::read(b"\xc0\x02\0", 0, true), Err(NameError::Pointer));
    assert_eq!(Name::read(b"\x01a\xc0\x00", 0, true), Err(NameError::Pointer));
    assert_eq!(Name::read(b"\x40aaa", 0, true), Err(NameError::Pointer));
    // A chain of pointers, each of which leads back.
    let chain: Vec<u8> =
        [0].into_iter().chain((0..40_u8).flat_map(|i| [0xc0, if i == 0 { 0 } else { i * 2 - 1 }])).collect();
    assert!(Name::read(&chain, 1, true).is_ok());
    assert_eq!(Name::read(&chain, 79, true), Err(NameError::Pointer));
}

proptest! {
    #[test]
    fn any_bytes_are_a_name_or_not(message in prop::collection::vec(any::<u8>(), 0..600), at in 0_usize..620, pointers: bool) {
        if let Ok((name, end)) = Name::read(&message, at, pointers) {
            prop_assert!(name.bytes().len() <= MAX_NAME);
            prop_assert!(end <= message.len() && end > at);
            let again = Name::read(name.bytes(), 0, false);
            prop_assert_eq!(again, Ok((name.clone(), name.bytes().len())));
        }
    }

    #[test]
    fn the_name_of_an_address_leads_to_it(v4: u32, v6: u128) {
        for ip in [IpAddr::from(Ipv4Addr::from_bits(v4)), IpAddr::from(Ipv6Addr::from_bits(v6))] {
            prop_assert_eq!(Name::of_address(ip).address(), Some(ip));
        }
    }
}
