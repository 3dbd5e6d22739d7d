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
    for other in [&[][..], &[0], &[1, 0, 7], &[0, 2, 7], &plan[1..]] {
        assert!(!is_bundle(other), "{other:?}");
        assert!(decode::<Bundle>(other).is_err(), "{other:?}");
    }
    assert!(decode::<Bundle>(&plan[..plan.len() - 1]).is_err());
    assert!(decode::<Bundle>(&[&plan[..], &[0]].concat()).is_err());
}

#[test]
fn a_member_of_a_sandbox_is_told_from_a_bundle() {
    let bundle = |dir: &str| Bundle {
        runtime: "/usr/bin/runsc".to_owned(),
        dir: dir.to_owned(),
        config: vec![Piece::Text("{}".to_owned())],
    };
    let member = Member {
        sandbox: bundle("/run/pod"),
        cgroup_dirs: vec!["/sys/fs/cgroup/pod".to_owned()],
        options: vec!["--network=sandbox".to_owned()],
        container: bundle("/run/container"),
    };
    let plan = encode_member(&member).unwrap();
    assert!(is_member(&plan) && !is_bundle(&plan));
    assert_eq!(decode_member(&plan), Ok(member));
    assert!(decode::<Bundle>(&plan).is_err());
    assert!(decode_member(&encode(&bundle("/x")).unwrap()).is_err());
    assert!(!is_member(&plan[1..]));
}
