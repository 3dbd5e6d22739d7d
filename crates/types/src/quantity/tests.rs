use super::*;
use proptest::prelude::*;

#[test]
fn quantities_as_kubernetes_reads_them() {
    // text, thousandths, units
    let cases: &[(&str, u64, u64)] = &[
        ("0", 0, 0),
        ("1", 1000, 1),
        ("100m", 100, 1),
        ("0.5", 500, 1),
        ("1.5", 1500, 2),
        (".5", 500, 1),
        ("2k", 2_000_000, 2000),
        ("64Mi", 64 * (1 << 20) * 1000, 64 << 20),
        ("1Gi", (1 << 30) * 1000, 1 << 30),
        ("1e3", 1_000_000, 1000),
        ("5E-1", 500, 1),
        ("1u", 1, 1),
    ];
    for (text, millis, units) in cases {
        let q: Quantity = text.parse().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((q.millis(), q.units()), (*millis, *units), "{text}");
    }
}

#[test]
fn what_is_no_quantity_is_refused() {
    for text in [
        "",
        "-1",
        "+1",
        "1.2.3",
        "m",
        ".",
        "1 Mi",
        "1mi",
        "1KiB",
        "1e99",
        "1e",
        "99999999999999999999999999",
        "NaN",
    ] {
        assert!(text.parse::<Quantity>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,30}") {
        drop(text.parse::<Quantity>());
    }
    #[test]
    fn whole_numbers_are_themselves(n in 0u64..1_000_000_000) {
        prop_assert_eq!(n.to_string().parse::<Quantity>().unwrap().units(), n);
    }
}

#[test]
fn a_quantity_is_written_with_the_largest_suffix_that_fits() {
    for (given, written) in [
        ("200m", "200m"),
        ("0.5", "500m"),
        ("2", "2"),
        ("64Mi", "64Mi"),
        ("1024", "1Ki"),
        ("3000k", "3M"),
        ("0", "0"),
    ] {
        assert_eq!(given.parse::<Quantity>().unwrap().to_string(), written);
    }
}
