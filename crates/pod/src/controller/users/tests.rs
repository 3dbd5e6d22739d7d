use super::*;

#[test]
fn no_two_pods_have_an_id() {
    let given = Given::default();
    let first = given.take("", Vec::new).unwrap();
    let second = given.take("", Vec::new).unwrap();
    let (one, two) = (first.namespace(), second.namespace());
    assert_eq!((one.uids.host, one.uids.length, one.uids.container), (0x7000_0000, 65_536, 0));
    assert_eq!(two.uids.host, one.uids.host + 65_536);
    drop(first);
    // A kubelet's pod that has half of the first and half of the second.
    let across = IdMap { host: one.uids.host + 100, ..one.uids };
    drop(second);
    let third = given.take("", || vec![UserNamespace { uids: across, gids: one.gids }]).unwrap();
    assert_eq!(third.namespace().uids.host, one.uids.host + 2 * 65_536);
    drop(third);
    assert_eq!(given.take("", Vec::new).unwrap().namespace(), one);
}

#[test]
fn the_ranges_end() {
    let given = Given::default();
    let all: Vec<_> = std::iter::from_fn(|| given.take("other", Vec::new)).collect();
    assert_eq!(all.len(), COUNT as usize);
    let hosts: BTreeSet<u32> = all.iter().map(|ids| ids.namespace().uids.host).collect();
    assert_eq!(hosts.len(), all.len());
    assert!(hosts.iter().all(|host| (0x7000_0000..0x7ff0_0000).contains(host)));
}
