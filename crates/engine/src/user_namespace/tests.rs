use berth_types::{Classify, Kind};

use super::*;
use crate::model::Network;

fn map(container: u32, host: u32, length: u32) -> IdMap {
    IdMap { container, host, length }
}

fn pod(uids: IdMap, gids: IdMap) -> Namespaces {
    let user = Some(UserNamespace { uids, gids });
    Namespaces { network: Network::Pod, pid: PidMode::Container, ipc: NamespaceMode::Pod, user }
}

fn refused(namespaces: &Namespaces) -> (Kind, String) {
    let error = check(namespaces).unwrap_err();
    (error.kind(), error.to_string())
}

/// contract 19: one range from 0 on, as many user as group ids.
#[test]
fn one_range_from_zero_is_what_a_pod_may_have() {
    let usual = map(0, 100_000, 65_536);
    assert!(check(&Namespaces { user: None, ..pod(usual, usual) }).is_ok());
    for good in [usual, map(0, 1000, 100_000), map(0, 0, 1), map(0, u32::MAX - 10, 10)] {
        assert!(check(&pod(good, good)).is_ok(), "{good:?}");
    }
    for (bad, words) in [
        (map(1, 100_000, 65_536), "must begin with 0"),
        (map(0, 100_000, 0), "none, or more than there are"),
        (map(0, u32::MAX - 9, 10), "none, or more"),
        (map(0, u32::MAX, 2), "none, or more"),
    ] {
        for (namespaces, field) in [(pod(bad, usual), "uids"), (pod(usual, bad), "gids")] {
            let (kind, text) = refused(&namespaces);
            assert!(text.contains(words) && text.contains(field), "{bad:?}: {text}");
            assert_eq!(kind, Kind::Invalid);
        }
    }
    assert!(refused(&pod(usual, map(0, 100_000, 10))).1.contains("65536 user ids and 10 group ids"));
}

#[test]
fn what_only_the_hosts_root_has_does_not_go_with_it() {
    let usual = map(0, 100_000, 65_536);
    let host_pid = Namespaces { pid: PidMode::Node, ..pod(usual, usual) };
    let host_ipc = Namespaces { ipc: NamespaceMode::Node, ..pod(usual, usual) };
    for (namespaces, word) in [(host_pid, "PID"), (host_ipc, "IPC")] {
        let (kind, text) = refused(&namespaces);
        assert!(text.contains(&format!("host's {word} namespace")), "{text}");
        assert_eq!(kind, Kind::Unsupported);
        assert!(check(&Namespaces { user: None, ..namespaces }).is_ok());
    }
    assert!(check(&Namespaces { network: Network::Host, ..pod(usual, usual) }).is_ok());
}

#[test]
fn ids_outside_of_the_maps_are_named() {
    let maps = Some(UserNamespace { uids: map(0, 100_000, 1000), gids: map(0, 200_000, 500) });
    let who = |uid, gid, more: &[u32]| Resolved {
        uid,
        gid,
        groups: [&[gid][..], more].concat(),
        ..Resolved::default()
    };
    assert!(has(maps, &who(999, 499, &[0, 7])).is_ok());
    assert!(has(None, &who(70_000, 70_000, &[])).is_ok());
    for (bad, words) in [
        (who(1000, 0, &[]), "user id 1000"),
        (who(0, 500, &[]), "group id 500"),
        (who(0, 0, &[3, 600]), "group id 600"),
    ] {
        let text = has(maps, &bad).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn ids_are_mapped_within_their_range() {
    let maps = map(10, 100, 5);
    for (inside, host) in [(9, None), (10, Some(100)), (14, Some(104)), (15, None)] {
        assert_eq!(maps.to_host(inside), host, "{inside}");
    }
    assert_eq!(map(0, u32::MAX, 5).to_host(1), None);
    assert_eq!(UserNamespace { uids: map(0, 7, 2), gids: map(0, 8, 2) }.root(), (7, 8));
}

#[test]
fn a_bounded_number_is_kept_and_the_latest_of_the_same_maps() {
    let namespaces = UserNamespaces::default();
    let fd = || Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
    let maps = |host| UserNamespace { uids: map(0, host, 1), gids: map(0, host, 1) };
    let first = fd();
    for host in 0..100 {
        namespaces.keep(maps(host), if host == 99 { Arc::clone(&first) } else { fd() });
    }
    assert_eq!(namespaces.kept.lock().unwrap().len(), KEPT);
    assert!(Arc::ptr_eq(&namespaces.with(maps(99)).unwrap(), &first));
    let second = fd();
    namespaces.keep(maps(99), Arc::clone(&second));
    assert!(Arc::ptr_eq(&namespaces.with(maps(99)).unwrap(), &second));
    assert_eq!(namespaces.kept.lock().unwrap().len(), KEPT);
}
