use super::*;

fn id(letter: char) -> SandboxId {
    letter.to_string().repeat(64).parse().unwrap()
}

/// contract 16: a kubelet gives the name alone or the whole path; anything else is refused by what is wrong with it.
#[test]
fn a_parent_is_a_slice_by_its_name_or_its_whole_path() {
    for (text, path) in [
        ("test.slice", "test.slice"),
        ("/test.slice", "test.slice"),
        (
            "kubepods-burstable-podx_1.slice",
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx_1.slice",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx_1.slice",
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx_1.slice",
        ),
        ("a\\x2db-c.slice/", "a\\x2db.slice/a\\x2db-c.slice"),
    ] {
        let slice = Slice::parse(text).unwrap();
        assert_eq!(slice.path().as_str(), path, "{text}");
        assert_eq!(slice.name(), path.rsplit('/').next().unwrap());
    }
    let deep = format!("{}.slice", vec!["a"; 33].join("-"));
    for (text, why) in [
        ("", "not a slice"),
        ("/kubepods/burstable/pod1", "same cgroup driver"),
        ("kubepods.slice/x.scope", "not a slice"),
        ("-.slice", "at the root"),
        (".slice", "at the root"),
        ("a--b.slice", "a dash"),
        ("a-.slice", "a dash"),
        ("-a.slice", "a dash"),
        ("a b.slice", "character"),
        ("a@.slice", "character"),
        ("a\n.slice", "character"),
        ("../x.slice", "lies at /x.slice"),
        ("/other.slice/kubepods-burstable.slice", "lies at /kubepods.slice/kubepods-burstable.slice"),
        ("kubepods-burstable.slice/kubepods-burstable-a.slice", "lies at /kubepods.slice"),
        (deep.as_str(), "32 levels"),
        (&format!("{}.slice", "a".repeat(250)), "180 bytes"),
    ] {
        let error = Slice::parse(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

/// Whatever slice is taken has room for a pod and its containers.
#[test]
fn every_slice_that_is_taken_has_room_for_scopes() {
    let mut taken = 0;
    for root in ["berth", &"r".repeat(174)] {
        let root = Slice::parse(&format!("{root}.slice")).unwrap();
        assert!(shim_unit(&root, &id('a')).len() <= 255);
        for levels in 1..40 {
            for part in ["a", "ab", &"c".repeat(20)] {
                let Ok(slice) = Slice::parse(&format!("{}.slice", vec![part; levels].join("-"))) else {
                    continue;
                };
                let scope = slice.scope(&pod_unit(&root, &id('a')));
                scope.child(POD.trim_matches('-')).unwrap().child(id('b').as_str()).unwrap();
                taken += 1;
            }
        }
        shims(&root).scope(&shim_unit(&root, &id('a')));
    }
    assert!(taken > 60, "{taken}");
}

#[test]
fn the_scope_of_a_group_is_found_and_named() {
    let (root, other) = (Slice::parse("berth.slice").unwrap(), Slice::parse("berth_x.slice").unwrap());
    let unit = pod_unit(&root, &id('a'));
    assert_eq!(unit, format!("berth-pod{}.scope", id('a')));
    assert_eq!(pod_of(&unit), Some(id('a')));
    assert_eq!(pod_of(&shim_unit(&root, &id('a'))), None);
    assert_eq!(any_pod_of(&shim_unit(&other, &id('b'))), Some(id('b')));
    for unit in ["berth-podx.scope", "session-1.scope", "berth-pod.slice", &format!("crio-{}.scope", id('a'))]
    {
        assert_eq!(any_pod_of(unit), None, "{unit}");
    }
    let scope = Slice::parse("k-x.slice").unwrap().scope(&unit);
    for (path, rest) in [
        (scope.clone(), ""),
        (scope.child("pod").unwrap(), "pod"),
        (scope.child("pod").unwrap().child("c").unwrap(), "pod/c"),
    ] {
        assert_eq!(scope_of(&path), Some((scope.clone(), rest)), "{path}");
    }
    assert_eq!(scope_of(&CgroupPath::new(&format!("berth/{}/c", id('a'))).unwrap()), None);
    assert_eq!(split(&scope), ("k-x.slice", unit.as_str()));
    assert_eq!(shims(&root).path().as_str(), "berth.slice/berth-shims.slice");
}

#[test]
fn two_instances_have_nothing_in_common() {
    let (one, two) = (Slice::parse("berth.slice").unwrap(), Slice::parse("berth_shims.slice").unwrap());
    let matches = |pattern: &str, unit: &str| {
        let (before, after) = pattern.split_once('*').unwrap();
        unit.starts_with(before) && unit.ends_with(after)
    };
    for unit in [pod_unit(&two, &id('a')), shim_unit(&two, &id('a'))] {
        assert_eq!((own(&two, &unit), own(&one, &unit)), (Some(id('a')), None), "{unit}");
        assert!(patterns(&two).iter().any(|p| matches(p, &unit)), "{unit}");
        assert!(!patterns(&one).iter().any(|p| matches(p, &unit)), "{unit}");
    }
    assert!(!two.path().as_str().starts_with(one.path().as_str()));
}
