//! Images and artifacts as volumes.

use std::path::Path;

use berth_engine::Engine;
use berth_engine::model::{
    ContainerConfig, IdMap, ImageSpec, ImageVolume, Mount, Propagation, UserNamespace,
};
use berth_testkit::Registry;
use berth_testkit::image::{Built, Compression, Content, Format, Image, Layer, digest_of};
use berth_testkit::require_root;
use berth_types::error::chain;
use berth_types::{Classify, ContainerId, Kind};
use serde_json::json;

use crate::harness::{WAITS, World, is_native, sandbox, script, started};

/// Two layers: the upper one replaces and removes files of the lower one. Links that lead to and fro.
fn data() -> Built {
    let lower = Layer::new()
        .dirs(["data", "data/deep", "lib"])
        .file("data/a", 0o644, "lower\n")
        .file("data/gone", 0o644, "gone\n")
        .file("data/deep/f", 0o755, "#!/bin/sh\necho ran\n")
        .symlink("absolute", "/data")
        .symlink("data/up", "../../../../data/deep")
        .symlink("dangling", "nowhere")
        .build(Compression::Gzip)
        .unwrap();
    let upper =
        Layer::new().file("data/a", 0o644, "upper\n").whiteout("data/gone").build(Compression::Gzip).unwrap();
    Image::new(Format::Oci).layer(&lower).layer(&upper).cmd(&["none"]).build()
}

fn volume(image: &str, sub_path: &str) -> Mount {
    let image =
        ImageSpec { image: image.to_owned(), user_specified: String::new(), annotations: Default::default() };
    let image = Some(ImageVolume { image, sub_path: sub_path.into() });
    Mount { image, readonly: true, ..Mount::new("", "/vol") }
}

fn with(name: &str, mount: Mount) -> ContainerConfig {
    ContainerConfig { mounts: vec![mount], ..script(name, WAITS) }
}

/// What a script says, its errors too.
async fn told(engine: &Engine, id: &ContainerId, text: &str) -> String {
    let argv = ["sh", "-c", text].map(str::to_owned).to_vec();
    let output = engine.exec_sync(id, argv, None).await.unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The names in a directory of the store.
fn stored(world: &World, dir: &str) -> usize {
    std::fs::read_dir(world.path().join("root/images").join(dir)).unwrap().count()
}

/// contract 32: image mounts are always read-only. contract 39 and 40: an explicit removal obeys, also when the image
/// is in use; a container that has it as a volume keeps what it shows, across a restart of the daemon too.
#[test]
pub(crate) fn an_image_is_a_volume_that_several_containers_share_and_keep() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let registry = Registry::start().unwrap();
    registry.push("test/data", "1", &data());
    let id = world.pull_from(&registry, "test/data:1", &engine);
    let before = world.traces();
    let [pod, first, second] = world.run(async {
        let pod = engine.run_sandbox(sandbox("volumes")).await.unwrap();
        let first = started(&engine, &pod, with("first", volume(&id, ""))).await;
        let second = started(&engine, &pod, with("second", volume(&id, ""))).await;
        for container in [&first, &second] {
            assert_eq!(
                told(&engine, container, "cat /vol/data/a; ls /vol/data").await,
                "upper\na\ndeep\nup\n"
            );
            assert_eq!(told(&engine, container, "/vol/data/deep/f").await, "ran\n");
            for change in ["touch /vol/x", "echo x >/vol/data/a", "mount -o remount,rw /vol"] {
                let said = told(&engine, container, &format!("{change} && echo changed")).await;
                assert!(!said.contains("changed") && !said.is_empty(), "{change}: {said}");
            }
            let view = engine.container(container.as_str()).unwrap();
            assert!(engine.images_of(&view).contains(&id), "it is in use");
        }
        [pod.to_string(), first.to_string(), second.to_string()]
    });
    let hosts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = world.path().display().to_string();
    let mounted = hosts.lines().any(|line| line.contains(&own) && line.contains("/volumes/"));
    assert!(!is_native() || !mounted, "nothing is mounted on the host: {hosts}");
    let layers = stored(&world, "layers");
    world.run(async {
        assert!(engine.images().remove(&id).await.unwrap(), "removal obeys");
        assert!(engine.images().find(&id).unwrap().is_none());
    });
    assert_eq!(stored(&world, "layers"), layers, "what is mounted stays");
    world.kill(engine);
    let engine = world.open();
    assert_eq!(stored(&world, "layers"), layers, "also when the store is opened");
    world.run(async {
        let (first, second) = (first.parse().unwrap(), second.parse().unwrap());
        assert_eq!(
            engine.images().volumes(&first).iter().map(ToString::to_string).collect::<Vec<_>>(),
            [&id[..]]
        );
        assert_eq!(told(&engine, &second, "cat /vol/data/a").await, "upper\n");
        engine.remove_container(&first).await.unwrap();
        assert_eq!(told(&engine, &second, "cat /vol/data/a").await, "upper\n");
        engine.remove_sandbox(&pod.parse().unwrap()).await.unwrap();
    });
    assert_eq!(stored(&world, "layers"), layers - 2, "nothing uses them any more");
    assert_eq!(world.traces(), before);
    world.finish(engine);
}

/// contract 19, 32: an image volume of a pod with a user namespace has the owners that the image gives its files.
#[test]
pub(crate) fn a_pod_with_a_user_namespace_sees_the_owners_of_an_image() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let registry = Registry::start().unwrap();
    let lower = Layer::new().dirs(["data"]).file("data/web", 0o640, "web").owner(33, 34);
    let upper = Layer::new().file("data/root", 0o600, "root");
    let [lower, upper] = [lower, upper].map(|layer| layer.build(Compression::Gzip).unwrap());
    registry.push("test/owned", "1", &Image::new(Format::Oci).layer(&lower).layer(&upper).build());
    let id = world.pull_from(&registry, "test/owned:1", &engine);
    world.run(async {
        let map = IdMap { container: 0, host: 400_000, length: 65_536 };
        let mut config = sandbox("owners");
        config.namespaces.user = Some(UserNamespace { uids: map, gids: map });
        let pod = engine.run_sandbox(config).await.unwrap();
        let mapped = |path| Mount { uids: vec![map], gids: vec![map], ..volume(&id, path) };
        for (number, (path, files, expected)) in [
            ("", "/vol/data/web /vol/data/root", "33:34\n0:0\n"),
            ("data", "/vol/web /vol/root", "33:34\n0:0\n"),
            ("data/web", "/vol", "33:34\n"),
        ]
        .into_iter()
        .enumerate()
        {
            let container = started(&engine, &pod, with(&format!("c{number}"), mapped(path))).await;
            let said = told(&engine, &container, &format!("stat -c %u:%g {files}")).await;
            assert_eq!(said, expected, "{path:?}");
        }
        // Those of another namespace are refused.
        let other = IdMap { host: 500_000, ..map };
        let mount = Mount { uids: vec![other], ..mapped("") };
        let error = engine.create_container(&pod, with("other", mount)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(chain(&error).contains("not those of the pod's user namespace"), "{}", chain(&error));
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 32: a sub path that is missing is an error. Links are followed inside the image, wherever they say they lead.
#[test]
pub(crate) fn a_part_of_an_image_is_a_volume() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let registry = Registry::start().unwrap();
    registry.push("test/data", "1", &data());
    let id = world.pull_from(&registry, "test/data:1", &engine);
    world.run(async {
        let pod = engine.run_sandbox(sandbox("parts")).await.unwrap();
        for (number, (path, script, expected)) in [
            ("data", "ls /vol", "a\ndeep\nup\n"),
            ("/data/", "cat /vol/a", "upper\n"),
            ("data/deep", "ls /vol", "f\n"),
            ("data/a", "cat /vol", "upper\n"),
            ("data/deep/f", "/vol", "ran\n"),
            ("absolute", "cat /vol/a", "upper\n"),
            ("absolute/deep", "ls /vol", "f\n"),
            ("data/up", "ls /vol", "f\n"),
            ("../../data/../lib/../data", "cat /vol/a", "upper\n"),
        ]
        .into_iter()
        .enumerate()
        {
            let container = started(&engine, &pod, with(&format!("c{number}"), volume(&id, path))).await;
            assert_eq!(told(&engine, &container, script).await, expected, "{path}");
            let said = told(&engine, &container, "echo x >/vol || echo x >/vol/x; echo done").await;
            assert!(said.contains("Read-only") && said.contains("done\n"), "{path}: {said}");
            engine.remove_container(&container).await.unwrap();
        }
        for path in ["nothing", "data/gone", "data/a/x", "dangling", "dangling/x", "data/nothing/.."] {
            let error = engine.create_container(&pod, with("refused", volume(&id, path))).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{path}");
            let text = chain(&error);
            assert!(text.contains("on /vol") && text.contains(&format!("has no {path:?}")), "{text}");
        }
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn a_volume_that_an_image_cannot_be_is_refused() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let registry = Registry::start().unwrap();
    registry.push("test/data", "1", &data());
    let id = world.pull_from(&registry, "test/data:1", &engine);
    let before = world.traces();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("refused")).await.unwrap();
        let base = || volume(&id, "");
        for (what, mount, kind) in [
            ("read-only", Mount { readonly: false, ..base() }, Kind::Invalid),
            ("propagation", Mount { propagation: Propagation::Bidirectional, ..base() }, Kind::Invalid),
            ("host_path", Mount { host_path: "/tmp".into(), ..base() }, Kind::Invalid),
            ("pull it first", volume("a.io/other:1", ""), Kind::NotFound),
        ] {
            let error = engine.create_container(&pod, with("c", mount)).await.unwrap_err();
            let text = chain(&error);
            assert!(matches!(error, berth_engine::EngineError::ImageVolume { .. }), "{text}");
            assert_eq!(error.kind(), kind, "{text}");
            assert!(text.contains(what), "{what}: {text}");
        }
        let mut many = with("many", base());
        many.mounts = (0..200).map(|n| Mount { container_path: format!("/v{n}").into(), ..base() }).collect();
        assert_eq!(engine.create_container(&pod, many).await.unwrap_err().kind(), Kind::Invalid);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    assert_eq!(world.traces(), before);
    world.finish(engine);
}

/// A hundred layers, and a hundred volumes beside each other.
#[test]
pub(crate) fn many_layers_and_many_volumes_are_mounted() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let registry = Registry::start().unwrap();
    let layer =
        |n| Layer::new().file(format!("f{n}"), 0o644, format!("{n}\n")).build(Compression::Gzip).unwrap();
    let image = (0..100).fold(Image::new(Format::Oci), |image, n| image.layer(&layer(n))).build();
    registry.push("test/deep", "1", &image);
    let id = world.pull_from(&registry, "test/deep:1", &engine);
    world.run(async {
        let pod = engine.run_sandbox(sandbox("many")).await.unwrap();
        let mut config = with("many", volume(&id, ""));
        config.mounts =
            (0..100).map(|n| Mount { container_path: format!("/v/{n}").into(), ..volume(&id, "") }).collect();
        let container = started(&engine, &pod, config).await;
        assert_eq!(
            told(&engine, &container, "cat /v/0/f0 /v/50/f99; ls /v/99 | wc -l").await,
            "0\n99\n100\n"
        );
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// An artifact of these files, as `oras push` makes one.
fn artifact(files: &[(&str, &str)]) -> Built {
    let empty = digest_of(b"{}");
    let layers: Vec<_> = files
        .iter()
        .map(|(title, text)| {
            json!({
                "mediaType": "application/octet-stream", "digest": digest_of(text.as_bytes()).to_string(),
                "size": text.len(), "annotations": { "org.opencontainers.image.title": title },
            })
        })
        .collect();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "artifactType": "application/vnd.example.model", "layers": layers,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty.to_string(), "size": 2 },
    });
    let mut built = Built::document(kind, &manifest);
    built.blobs = files
        .iter()
        .map(|(_, text)| (digest_of(text.as_bytes()), Content::Memory(text.as_bytes().to_vec().into())))
        .collect();
    built
}

#[test]
pub(crate) fn an_artifact_is_a_volume_of_its_files_and_no_image_to_run() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let registry = Registry::start().unwrap();
    registry.push("test/model", "1", &artifact(&[("model.bin", "weights\n"), ("docs/readme", "read me\n")]));
    registry.push("test/one", "1", &artifact(&[("only", "one\n")]));
    let id = world.pull_from(&registry, "test/model:1", &engine);
    let one = world.pull_from(&registry, "test/one:1", &engine);
    world.run(async {
        let pod = engine.run_sandbox(sandbox("artifact")).await.unwrap();
        let mut config = with("reader", volume(&id, ""));
        for (place, image, path) in [
            ("/docs", &id, "docs"),
            ("/model", &id, "model.bin"),
            ("/one", &one, ""),
            ("/single", &one, "only"),
        ] {
            config.mounts.push(Mount { container_path: place.into(), ..volume(image, path) });
        }
        let container = started(&engine, &pod, config).await;
        let script = "cd /vol; cat model.bin docs/readme /docs/readme /model /one/only /single; ls /vol /one";
        let said = told(&engine, &container, script).await;
        let expected =
            "weights\nread me\nread me\nweights\none\none\n/one:\nonly\n\n/vol:\ndocs\nmodel.bin\n";
        assert_eq!(said, expected);
        let said = told(&engine, &container, "touch /vol/x; touch /vol/docs/x; echo x >/model").await;
        assert_eq!(said.matches("Read-only file system").count(), 3, "{said}");
        let mut as_image = script_of(&id);
        as_image.command = Vec::new();
        let error = engine.create_container(&pod, as_image).await.unwrap_err().to_string();
        assert!(error.contains("application/vnd.example.model") && error.contains("volume"), "{error}");
        engine.remove_sandbox(&pod).await.unwrap();
        assert!(engine.images().remove(&id).await.unwrap() && engine.images().remove(&one).await.unwrap());
    });
    assert!(!Path::new(&world.path().join("root/images/layers")).join("aside").exists());
    world.finish(engine);
}

fn script_of(image: &str) -> ContainerConfig {
    let mut config = script("runs", "true");
    image.clone_into(&mut config.image.image);
    config
}
