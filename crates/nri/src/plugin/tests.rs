use super::*;

#[test]
fn an_index_is_two_digits_and_a_name_is_not_empty() {
    let of = |index: &str, name: &str| Identity::of(index, name).map(|identity| identity.to_string());
    assert_eq!(of("00", "logger").unwrap(), "00-logger");
    assert_eq!(of("99", "a.b_c-d+E0").unwrap(), "99-a.b_c-d+E0");
    for (index, name) in
        [("0", "x"), ("000", "x"), ("0a", "x"), ("", "x"), ("00", ""), ("00", "a/b"), ("00", "a b")]
    {
        assert!(of(index, name).is_err(), "{index:?} {name:?}");
    }
    assert!(of("00", &"x".repeat(MAX_NAME)).is_ok());
    assert!(of("00", &"x".repeat(MAX_NAME + 1)).is_err());
}

#[test]
fn the_name_of_a_file_has_both() {
    let identity = Identity::of_file("10-device-injector").unwrap();
    assert_eq!((identity.index.as_str(), identity.name.as_str()), ("10", "device-injector"));
    assert!(Identity::of_file("device-injector").is_err());
    assert!(Identity::of_file("10").is_err());
}

#[test]
fn a_synchronisation_is_split_where_a_message_ends() {
    let container = |size: usize| Container { id: "x".repeat(size), ..Container::default() };
    let all = parts(vec![PodSandbox::default()], vec![container(2 << 20), container(2 << 20), container(10)]);
    let counts: Vec<(usize, usize)> =
        all.iter().map(|(pods, containers)| (pods.len(), containers.len())).collect();
    assert_eq!(counts, [(1, 1), (0, 2)]);
    // None at all is one message all the same.
    assert_eq!(parts(Vec::new(), Vec::new()).len(), 1);
}
