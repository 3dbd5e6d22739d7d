use super::*;

#[test]
fn a_profile_is_found_by_its_whole_name() {
    let list = "docker-default (enforce)\n/usr/bin/man (enforce)\nman_filter (complain)\nodd (name) (kill)\n";
    for name in ["docker-default", "/usr/bin/man", "man_filter", "odd (name)"] {
        assert!(lists(list, name), "{name}");
    }
    for name in ["docker", "default", "man", "odd", "docker-default (enforce)", ""] {
        assert!(!lists(list, name), "{name}");
    }
    assert!(!lists("", "any"));
}

#[test]
fn a_change_names_the_profile_as_it_is() {
    assert_eq!(on_exec("odd (name)"), b"exec odd (name)");
}

#[test]
fn a_profile_that_is_not_loaded_is_not_taken_on() {
    let error = set_on_exec(&on_exec("berth-no-such-profile")).unwrap_err();
    if in_force() {
        assert_eq!(error, Errno::NOENT);
        assert!(!is_loaded("berth-no-such-profile").unwrap());
    } else {
        assert!(matches!(error, Errno::NOENT | Errno::INVAL), "{error:?}");
    }
}
