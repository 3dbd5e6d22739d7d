//! Which registries are asked for an image.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_with_a_damaged_or_truncated_layer_is_skipped() {
    if !root("a_mirror_with_a_damaged_or_truncated_layer_is_skipped") {
        return;
    }
    let blob = layer("a", 300_000);
    let built = image(std::slice::from_ref(&blob));
    let berth_testkit::image::Content::Memory(bytes) = &blob.content else { panic!("a small blob") };
    let cut = |length: usize| Content::Memory(bytes[..length].to_vec().into());
    let damaged = |bytes: Vec<u8>| Content::Memory(bytes.into());
    let faults = [
        ("no layer at all", Some(damaged(b"not a layer at all".to_vec())), None),
        ("zeros", Some(damaged(vec![0; bytes.len()])), None),
        ("announced", Some(cut(200_000)), None),
        ("to nothing", Some(cut(0)), None),
        ("unannounced", None, Some(FaultAction::TruncateAfter(200_000))),
        ("at once", None, Some(FaultAction::TruncateAfter(0))),
        ("reset", None, Some(FaultAction::ResetAfter(200_000))),
        ("a page", Some(damaged(b"<html>".repeat(1000))), None),
        (
            "a page of unannounced length",
            Some(damaged(b"<html>".repeat(1000))),
            Some(FaultAction::TruncateAfter(6000)),
        ),
        (
            "a small page of unannounced length",
            Some(damaged(b"<html>".to_vec())),
            Some(FaultAction::TruncateAfter(6)),
        ),
        ("unannounced, without ranges", Some(cut(200_000)), Some(FaultAction::TruncateAfter(200_000))),
    ];
    for (what, content, action) in faults {
        let mirror = TestRegistry::start().unwrap();
        mirror.push("a/b", "1", &built);
        let is_cut = content.is_some();
        if let Some(content) = content {
            mirror.put_blob("a/b", &blob.digest, content);
        }
        if let Some(action) = action {
            mirror.fault(Fault::new(On::Path(blob.digest.to_string()), action));
        }
        let certs = tempfile::tempdir().unwrap();
        let mut config = config();
        config.certs_dirs = vec![certs.path().to_owned()];
        let scene = Scene::with(Auth::Open, config).await;
        scene.registry.push("a/b", "1", &built);
        let host = certs.path().join("registry.example");
        std::fs::create_dir(&host).unwrap();
        let text = format!("server = \"{}\"\n[host.\"{}\"]\n", scene.registry.url(), mirror.url());
        std::fs::write(host.join("hosts.toml"), text).unwrap();
        let mut request = scene.request("");
        request.reference = "registry.example/a/b:1".into();
        scene
            .puller
            .pull(request, Progress::none())
            .await
            .unwrap_or_else(|e| panic!("{what}: {}", berth_types::error::chain(&e)));
        // One that has the rest may give it when asked again.
        assert!(!is_cut || scene.asked(&blob) >= 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_name_is_looked_for_in_order_and_never_past_a_silent_registry() {
    if !root("a_short_name_is_looked_for_in_order_and_never_past_a_silent_registry") {
        return;
    }
    let other = TestRegistry::start().unwrap();
    let mut config = config();
    let down = format!("127.0.0.1:{}", berth_testkit::guard::free_port());
    config.unqualified_registries = vec![other.host()];
    let scene = Scene::with(Auth::Open, config.clone()).await;
    config.unqualified_registries.push(scene.registry.host());
    let puller = Puller::new(Registry::new(config.clone()), scene.store.images.clone());
    scene.registry.push("a", "1", &image(&[layer("a", 10)]));
    let mut request = scene.request("");
    request.reference = "a:1".into();
    let pulled = puller.pull(request.clone(), Progress::none()).await.unwrap();
    assert_eq!(pulled.tags, [format!("{}/a:1", scene.registry.host())]);
    assert_eq!(other.requests().len(), 1);

    let mut missing = request.clone();
    missing.reference = "b:1".into();
    let error = puller.pull(missing, Progress::none()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains(&other.host()) && error.to_string().contains(&scene.registry.host()));

    config.unqualified_registries.insert(0, down);
    let puller = Puller::new(Registry::new(config), scene.store.images.clone());
    let error = puller.pull(request, Progress::none()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
}
