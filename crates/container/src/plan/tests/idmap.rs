use super::*;

#[test]
fn maps_of_mounts_and_of_a_given_user_namespace_are_kept() {
    let map = json!([{ "containerID": 0, "hostID": 100000, "size": 10 }]);
    let ids = [IdMap { inside: 0, outside: 100_000, count: 10 }];
    for (option, recursive) in [("idmap", 0), ("ridmap", sys::IDMAP)] {
        let list = mounts(json!([{ "destination": "/a", "type": "bind", "source": "/b",
            "options": ["rbind", option], "uidMappings": map, "gidMappings": map }]));
        let mount = mount(&list[0]);
        assert_eq!(mount.recursive_attributes.set, recursive, "{option}");
        assert!(matches!(&mount.source, MountSource::Bind { uid_map, .. } if *uid_map == ids));
    }
    let mut config = config();
    config["linux"]["namespaces"].as_array_mut().expect("array").push(json!({ "type": "user" }));
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    let spec = parse(config.to_string().as_bytes()).expect("a specification");
    let inputs = Inputs {
        bundle: Some(Path::new("/bundle")),
        given: vec![LinuxNamespaceType::User],
        ..Inputs::default()
    };
    let plan = plan(&spec, &inputs).expect("a plan");
    assert_eq!((plan.namespaces.user, &*plan.uid_map, &*plan.gid_map), (Space::Given, &ids[..], &ids[..]));
}
