use super::*;

#[test]
fn only_a_number_below_0_is_any_device() {
    let rule = |major, access: &str| {
        let mut of = LinuxDeviceCgroup::default();
        of.set_allow(true).set_typ(Some(LinuxDeviceType::C)).set_access(Some(access.to_owned()));
        of.set_major(major).set_minor(Some(3));
        super::rule(&of)
    };
    assert_eq!(rule(Some(-1), "rwm").unwrap().major, None);
    assert_eq!(rule(None, "rwm").unwrap().major, None);
    let one = rule(Some(1), "rw").unwrap();
    assert_eq!((one.major, one.minor), (Some(1), Some(3)));
    assert_eq!(one.access, Access { read: true, write: true, make: false });
    for (major, access) in [(i64::from(u32::MAX) + 1, "rwm"), (1, "rx"), (1, "")] {
        assert_eq!(rule(Some(major), access), None, "{major} {access:?}");
    }
}
