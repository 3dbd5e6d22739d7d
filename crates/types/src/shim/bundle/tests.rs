use super::*;

#[test]
fn a_plan_comes_back_and_is_told_from_the_others() {
    let bundle = Bundle {
        runtime: "/usr/sbin/runc".to_owned(),
        dir: "/run/x".to_owned(),
        config: vec![
            Piece::Text("{".to_owned()),
            Piece::Namespace(Namespace::Ipc),
            Piece::Text("}".to_owned()),
        ],
    };
    let plan = encode(&bundle).unwrap();
    assert!(is_bundle(&plan));
    assert_eq!(decode::<Bundle>(&plan), Ok(bundle));
    let process = Process { text: "{}".to_owned() };
    assert_eq!(decode::<Process>(&encode(&process).unwrap()), Ok(process));
    for other in [&[][..], &[0], &[1, 0, 7], &[0, 2, 7], &[5, 1, 7], &plan[1..]] {
        assert!(!is_bundle(other), "{other:?}");
        assert!(decode::<Bundle>(other).is_err(), "{other:?}");
        assert!(container(other).is_err(), "{other:?}");
    }
    assert!(decode::<Bundle>(&plan[..plan.len() - 1]).is_err());
    assert!(decode::<Bundle>(&[&plan[..], &[0]].concat()).is_err());
}

/// The bytes of each version, forever (docs/adr/0080).
#[test]
fn every_version_is_what_it_was() {
    fn check<T: Versioned + PartialEq + std::fmt::Debug>(what: &T, fixture: &str) {
        let plan = encode(what).unwrap();
        let hex: String = plan.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, fixture);
        assert_eq!(decode::<T>(&plan).as_ref(), Ok(what));
    }
    let bundle = |which| Bundle {
        runtime: "/r".to_owned(),
        dir: "/d".to_owned(),
        config: vec![Piece::Text("{".to_owned()), Piece::Namespace(which)],
    };
    for (which, fixture) in [
        (Namespace::Network, "0001022f72022f640200017b0100"),
        (Namespace::Ipc, "0001022f72022f640200017b0101"),
        (Namespace::Uts, "0001022f72022f640200017b0102"),
        (Namespace::Pid, "0001022f72022f640200017b0103"),
    ] {
        check(&bundle(which), fixture);
    }
    check(&Process { text: "{}".to_owned() }, "0001027b7d");
    let mapped = Mapped { bundle: bundle(Namespace::User), owner: Owner { uid: 300_000, gid: 7 } };
    check(&mapped, "0101022f72022f640200017b0104e0a71207");
    let member = Member {
        sandbox: Bundle { config: Vec::new(), ..bundle(Namespace::Ipc) },
        cgroup_dirs: vec!["/c".to_owned()],
        options: vec!["-o".to_owned()],
        container: bundle(Namespace::Network),
    };
    check(&member, "0201022f72022f640001022f6301022d6f022f72022f640200017b0100");
    let task = Task { container: bundle(Namespace::Uts), cgroup_dirs: vec!["/c".to_owned()] };
    check(&task, "0301022f72022f640200017b010201022f63");
    let hook = |path: &str| Hook { path: path.to_owned(), args: Vec::new(), env: None, timeout_s: None };
    let whole = Hook {
        args: vec!["a".to_owned()],
        env: Some(vec!["E=1".to_owned()]),
        timeout_s: Some(5),
        ..hook("/1")
    };
    let hooks = Hooks {
        prestart: vec![whole],
        create_runtime: vec![hook("/2")],
        create_container: vec![hook("/3")],
        start_container: vec![hook("/4")],
        poststart: vec![hook("/5")],
        poststop: vec![hook("/6")],
    };
    let hooked = Hooked {
        plan: vec![1, 0, 9],
        bundle: bundle(Namespace::Ipc),
        hooks,
        oci_version: "1.0.2".to_owned(),
        annotations: vec![("k".to_owned(), "v".to_owned())],
    };
    let fixture = concat!(
        "0401",
        "03010009",
        "022f72022f640200017b0101",
        "01022f3101016101010345",
        "3d310105",
        "01022f32000000",
        "01022f33000000",
        "01022f34000000",
        "01022f35000000",
        "01022f36000000",
        "05312e302e32",
        "01016b0176",
    );
    check(&hooked, fixture);
}

/// Each is told by its version, and is no other.
#[test]
fn containers_are_told_from_each_other() {
    let bundle = |dir: &str| Bundle {
        runtime: "/r".to_owned(),
        dir: dir.to_owned(),
        config: vec![Piece::Text("{}".to_owned())],
    };
    let mapped = Mapped { bundle: bundle("/m"), owner: Owner { uid: 1, gid: 2 } };
    let member = Member {
        sandbox: bundle("/pod"),
        cgroup_dirs: Vec::new(),
        options: Vec::new(),
        container: bundle("/container"),
    };
    let plans = [encode(&bundle("/p")).unwrap(), encode(&mapped).unwrap(), encode(&member).unwrap()];
    assert!(plans.iter().all(|plan| is_bundle(plan)));
    assert_eq!(container(&plans[0]), Ok(Container::Plain(bundle("/p"))));
    assert_eq!(container(&plans[1]), Ok(Container::Mapped(mapped)));
    assert_eq!(container(&plans[2]), Ok(Container::Member(member)));
    assert!(decode::<Bundle>(&plans[2]).is_err() && decode::<Member>(&plans[0]).is_err());
    assert!(!is_bundle(&plans[2][1..]));
}
