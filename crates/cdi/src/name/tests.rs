use super::*;

#[test]
fn names_have_a_vendor_a_class_and_a_device() {
    for good in
        ["vendor.com/device=one", "nvidia.com/gpu=0", "a/b=c", "v.com/net-x.y=GPU-1:2", "vendor.com/c=all"]
    {
        let name: Name = good.parse().unwrap();
        assert_eq!(name.to_string(), good);
        assert!(Name::is_meant(good), "{good}");
    }
    for (bad, why) in [
        ("", "it has no ="),
        ("vendor.com/device", "it has no ="),
        ("device=one", "it has no vendor"),
        ("/device=one", "its vendor"),
        ("1vendor.com/device=one", "its vendor"),
        ("vendor.com/=one", "its class"),
        ("vendor.com/a/b=one", "its class"),
        ("vendor.com/gpu=", "its device"),
        ("vendor.com/gpu=-a", "its device"),
        ("vendor.com/gpu=a b", "its device"),
        ("vendor.com/gpu=a=b", "its device"),
    ] {
        let error = bad.parse::<Name>().unwrap_err().to_string();
        assert!(
            error.contains(why) && error.contains("expected vendor.com/class=device"),
            "{bad:?}: {error}"
        );
    }
    let long = format!("v.com/{}=a", "c".repeat(64));
    assert!(long.parse::<Name>().is_err());
}

#[test]
fn paths_are_not_meant_as_names() {
    for path in ["/dev/null", "/dev/by=id/x", "name", "name=value", "./dev/x"] {
        assert!(!Name::is_meant(path), "{path}");
    }
}

#[test]
fn annotations_name_several() {
    let of = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let names = of_annotations(&of(&[
        ("cdi.k8s.io/plugin_b", "v.com/x=3"),
        ("cdi.k8s.io/plugin_a", "v.com/x=1, v.com/y=2"),
        ("other", "no name"),
    ]));
    let names: Vec<String> = names.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["v.com/x=1", "v.com/y=2", "v.com/x=3"]);
    let (key, error) = of_annotations(&of(&[("cdi.k8s.io/a", "v.com/x=1,")])).unwrap_err();
    assert_eq!(key, "cdi.k8s.io/a");
    assert!(error.to_string().contains("it has no ="), "{error}");
}
