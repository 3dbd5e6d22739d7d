use super::*;

fn platforms(texts: &[&str]) -> Vec<Platform> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn choose(host: &str, index: &[&str]) -> Option<usize> {
    host.parse::<Platform>().unwrap().choose(&platforms(index))
}

#[test]
fn names_are_normalised() {
    for (text, normal) in [
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("Linux/i386", "linux/386"),
        ("linux/riscv64", "linux/riscv64"),
    ] {
        assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
    }
}

#[test]
fn what_is_not_a_platform_is_refused() {
    for text in ["", "linux", "linux/", "/amd64", "linux/amd64/v2/x", "linux/am d64"] {
        assert!(text.parse::<Platform>().is_err(), "{text:?}");
    }
}

#[test]
fn the_exact_platform_wins_whatever_the_order() {
    assert_eq!(choose("linux/amd64", &["linux/arm64", "linux/386", "linux/amd64"]), Some(2));
    assert_eq!(choose("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"]), Some(1));
}

#[test]
fn a_machine_falls_back_to_what_it_can_run_best_first() {
    assert_eq!(choose("linux/amd64", &["linux/arm64", "linux/386"]), Some(1));
    assert_eq!(choose("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"]), Some(1));
    assert_eq!(choose("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"]), Some(1));
    assert_eq!(choose("linux/arm64", &["linux/arm/v5", "linux/arm/v7"]), Some(1));
}

#[test]
fn equals_are_taken_in_index_order() {
    assert_eq!(choose("linux/amd64", &["linux/amd64", "linux/amd64/v1"]), Some(0));
}

#[test]
fn what_cannot_run_is_not_chosen() {
    assert_eq!(choose("linux/amd64", &["windows/amd64", "linux/amd64/v3", "linux/s390x"]), None);
    assert_eq!(choose("linux/arm/v6", &["linux/arm/v7"]), None);
}
