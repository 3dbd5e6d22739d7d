use super::*;

fn security(add: &[&str], drop: &[&str], ambient: &[&str]) -> ContainerSecurity {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    ContainerSecurity {
        add_capabilities: own(add),
        drop_capabilities: own(drop),
        ambient_capabilities: own(ambient),
        ..ContainerSecurity::default()
    }
}

fn bounding(security: &ContainerSecurity) -> HashSet<Capability> {
    sets(security, u64::MAX).unwrap().bounding().clone().unwrap()
}

/// How many the kernel has (linux/capability.h).
const ALL: usize = 41;

#[test]
fn masks_are_those_of_the_kernel() {
    for (capability, number) in [
        (Capability::Chown, 0),
        (Capability::Kill, 5),
        (Capability::SysAdmin, 21),
        (Capability::Setfcap, 31),
        (Capability::CheckpointRestore, 40),
    ] {
        assert_eq!(mask(&HashSet::from([capability])), 1 << number);
    }
    assert_eq!(mask(&named(CapabilitySet::all())), (1 << ALL) - 1);
}

#[test]
fn the_default_set_is_added_to_and_dropped_from() {
    assert_eq!(bounding(&security(&[], &[], &[])), named(DEFAULT));
    let set = bounding(&security(&["NET_ADMIN", "cap_sys_time"], &["CAP_CHOWN"], &[]));
    assert!(set.contains(&Capability::NetAdmin) && set.contains(&Capability::SysTime));
    assert!(!set.contains(&Capability::Chown));
    assert_eq!(set.len(), 15);
}

#[test]
fn all_goes_before_single_names() {
    assert_eq!(bounding(&security(&["KILL"], &["ALL"], &[])), HashSet::from([Capability::Kill]));
    let most = bounding(&security(&["ALL"], &["CHOWN"], &[]));
    assert_eq!(most.len(), ALL - 1);
    assert!(bounding(&security(&[], &["all"], &[])).is_empty());
}

#[test]
fn all_is_what_the_daemon_has() {
    let mut privileged = security(&[], &[], &[]);
    privileged.privileged = true;
    let held = !CapabilitySet::SYS_RESOURCE.bits();
    let set = sets(&privileged, held).unwrap().bounding().clone().unwrap();
    assert_eq!(set.len(), ALL - 1);
    assert!(!set.contains(&Capability::SysResource));
}

#[test]
fn ambient_ones_are_inheritable_too_and_nothing_else_is() {
    let made = sets(&security(&[], &[], &["NET_RAW"]), u64::MAX).unwrap();
    let only = Some(HashSet::from([Capability::NetRaw]));
    assert_eq!((made.ambient(), made.inheritable()), (&only, &only));
    let none = sets(&security(&[], &[], &[]), u64::MAX).unwrap();
    assert_eq!(none.inheritable().as_ref().map(HashSet::len), Some(0));
}

#[test]
fn an_unknown_name_is_refused_with_its_field() {
    let error = sets(&security(&[], &["SYS_ADMN"], &[]), u64::MAX).unwrap_err();
    assert!(error.to_string().contains("drop_capabilities"), "{error}");
}
