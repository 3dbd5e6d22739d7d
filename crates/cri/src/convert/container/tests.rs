use super::*;

/// A view of a container that was created by its image's id.
fn view(user_specified: &str) -> ContainerView {
    let asked = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(api::ImageSpec {
            image: "sha256:0".into(),
            user_specified_image: user_specified.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let pod = Namespaces {
        network: berth_engine::model::Network::Pod,
        pid: berth_engine::model::PidMode::Pod,
        ipc: berth_engine::model::NamespaceMode::Pod,
        user: None,
    };
    ContainerView {
        id: "c".repeat(64).parse().unwrap(),
        sandbox: "d".repeat(64).parse().unwrap(),
        config: std::sync::Arc::new(from_api(&asked, &pod).unwrap()),
        state: berth_types::lifecycle::container::State::Created,
        created_at: 1,
        started_at: None,
        exit: None,
        pid: None,
        cgroup: String::new(),
        image_id: "sha256:0".into(),
        image_ref: "docker.io/library/web@sha256:1".into(),
        log_path: None,
        resources: berth_engine::model::Resources::default(),
        user: berth_engine::model::ContainerUser::default(),
        stop_signal: "SIGTERM".into(),
    }
}

#[test]
fn a_status_shows_the_name_that_the_user_knows() {
    let tags = ["docker.io/library/web:1", "docker.io/library/web:latest", "r.example/a/web:1"];
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    for (wrote, want) in [
        ("web:1", "docker.io/library/web:1"),
        ("web", "docker.io/library/web:latest"),
        ("library/web", "docker.io/library/web:latest"),
        ("r.example/a/web:1", "r.example/a/web:1"),
        ("b:1", "docker.io/library/web:1"),
        ("", "docker.io/library/web:1"),
    ] {
        let shown = status(&view(wrote), &tags, &[]).unwrap().image.unwrap();
        assert_eq!((shown.image.as_str(), shown.user_specified_image.as_str()), (want, wrote));
    }
    // Of an image that was removed, or has no tag.
    assert_eq!(status(&view("web"), &[], &[]).unwrap().image.unwrap().image, "sha256:0");
}

/// contract 27: a volume's image has the id that PullImage gave. A host path beside it would be another kind of mount.
#[test]
fn a_status_shows_the_images_of_volumes() {
    let mount = |image: Option<&str>, path: &str| api::Mount {
        container_path: path.into(),
        host_path: if image.is_some() { String::new() } else { "/h".into() },
        image: image.map(|image| api::ImageSpec { image: image.into(), ..Default::default() }),
        image_sub_path: image.map(|_| "etc".to_owned()).unwrap_or_default(),
        readonly: true,
        ..Default::default()
    };
    let asked = api::ContainerConfig {
        mounts: vec![mount(Some("a"), "/1"), mount(None, "/2"), mount(Some("b"), "/3")],
        ..api::ContainerConfig {
            metadata: Some(api::ContainerMetadata::default()),
            image: Some(api::ImageSpec::default()),
            ..Default::default()
        }
    };
    let mut view = view("web");
    let pod = Namespaces {
        network: berth_engine::model::Network::Pod,
        pid: berth_engine::model::PidMode::Pod,
        ipc: berth_engine::model::NamespaceMode::Pod,
        user: None,
    };
    view.config = std::sync::Arc::new(from_api(&asked, &pod).unwrap());
    let shown = status(&view, &[], &["sha256:1".to_owned(), "sha256:2".to_owned()]).unwrap().mounts;
    let shown: Vec<_> = shown
        .iter()
        .map(|m| {
            let image = m.image.as_ref().map(|image| (image.image.as_str(), image.image_ref.as_str()));
            (m.container_path.as_str(), m.host_path.as_str(), image, m.image_sub_path.as_str())
        })
        .collect();
    let expected = [
        ("/1", "", Some(("a", "sha256:1")), "etc"),
        ("/2", "/h", None, ""),
        ("/3", "", Some(("b", "sha256:2")), "etc"),
    ];
    assert_eq!(shown, expected);
}
