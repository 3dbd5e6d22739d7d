//! `berth artifact`: made, pushed, pulled and extracted, and what other tools make of them.

use std::process::Command;

use berth_testkit::guard::has_program;
use berth_testkit::image::{Built, Content, digest_of};
use berth_testkit::{require, require_root};
use serde_json::{Value, json};

use crate::home::{BUSYBOX, DEMO, Home, registry};
use crate::push::DockerRegistry;

/// An artifact as `oras push` packs it, with a configuration of its own and a file that has no name.
fn publish(name: &str, files: &[(Option<&str>, &[u8])]) -> Built {
    let config = br#"{"of":"the chart"}"#;
    let layer = |(title, bytes): &(Option<&str>, &[u8])| {
        let annotations = title.map(|title| json!({ "org.opencontainers.image.title": title }));
        json!({ "mediaType": "text/plain", "digest": digest_of(bytes), "size": bytes.len(), "annotations": annotations })
    };
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "layers": files.iter().map(layer).collect::<Vec<_>>(),
        "config": { "mediaType": "application/vnd.example.chart", "digest": digest_of(config), "size": config.len() },
    });
    let mut built = Built::document(kind, &manifest);
    let blobs = files.iter().map(|(_, bytes)| *bytes).chain([&config[..]]);
    built.blobs = blobs.map(|b| (digest_of(b), Content::Memory(b.to_vec().into()))).collect();
    registry().push(name, "1", &built);
    built
}

#[test]
fn an_artifact_is_pulled_shown_and_extracted() {
    require_root!();
    let home = Home::start();
    let built = publish("library/chart", &[(Some("a/one"), b"1"), (Some("two"), b"22"), (None, b"333")]);
    let name = "docker.io/library/chart:1";
    home.berth(&["artifact", "pull", "-q", name]).fine();
    let digest = built.digest.to_string();
    let table = home.berth(&["artifact", "ls"]).fine();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["REPOSITORY", "TAG", "TYPE", "DIGEST", "AGE", "SIZE"]);
    let expected = ["docker.io/library/chart", "1", "application/vnd.example.chart", &digest[7..19]];
    assert_eq!((lines.len(), &lines[1][..4]), (2, &expected[..]), "{table}");
    assert_eq!(home.berth(&["artifact", "ls", "-q"]).fine(), format!("{digest}\n"));
    assert!(!home.berth(&["images"]).fine().contains("chart"));
    let listed = home.berth(&["artifact", "ls", "-o", "yaml"]).fine();
    assert!(listed.contains("type: application/vnd.example.chart"), "{listed}");

    let shown = home.berth(&["artifact", "inspect", &digest[7..19]]).json();
    assert_eq!((&shown[0]["Digest"], &shown[0]["Name"]), (&json!(digest), &json!(name)));
    let sent: Value = serde_json::from_slice(&built.manifest).unwrap();
    assert_eq!(shown[0]["Manifest"], sent);
    let paths: Vec<_> = shown[0]["Files"].as_array().unwrap().iter().map(|f| f["Path"].clone()).collect();
    let unnamed = digest_of(b"333").hex().to_owned();
    assert_eq!(paths, ["a/one", "two", &unnamed]);

    let text = |path: &str| std::fs::read_to_string(home.dir.path().join(path)).unwrap();
    let err = home.berth(&["artifact", "extract", name, "out"]).refused();
    assert!(err.contains("3 files") && err.contains("no directory"), "{err}");
    std::fs::create_dir(home.dir.path().join("out")).unwrap();
    let said = home.berth(&["artifact", "extract", name, "out"]).fine();
    assert_eq!(said, format!("out/a/one\nout/two\nout/{unnamed}\n"));
    assert_eq!([text("out/a/one"), text("out/two"), text(&format!("out/{unnamed}"))], ["1", "22", "333"]);
    home.berth(&["artifact", "extract", "--title", "two", name, "other"]).fine();
    assert_eq!(text("other"), "22");
    assert_eq!(home.berth(&["artifact", "extract", "--digest", &unnamed, name, "-"]).fine(), "333");
    let err = home.berth(&["artifact", "extract", "--title", "three", name, "x"]).refused();
    assert!(err.contains("it has a/one, two"), "{err}");
    assert!(!home.dir.path().join("x").exists());
    // A link in the directory leads nowhere, and what was there stays.
    std::fs::create_dir_all(home.dir.path().join("trap")).unwrap();
    std::os::unix::fs::symlink(home.dir.path(), home.dir.path().join("trap/a")).unwrap();
    home.berth(&["artifact", "extract", "--title", "a/one", name, "trap"]).refused();
    assert!(!home.dir.path().join("one").exists());
    std::fs::write(home.dir.path().join("kept"), "kept").unwrap();
    std::os::unix::fs::symlink("../kept", home.dir.path().join("out/link")).unwrap();
    home.berth(&["artifact", "extract", "--title", "two", name, "out/link"]).fine();
    assert_eq!([text("kept"), text("out/link")], ["kept", "22"]);

    // An image is none, and an artifact is no image to run.
    let err = home.berth(&["artifact", "pull", BUSYBOX]).refused();
    assert!(err.contains("it is an image, and no artifact"), "{err}");
    assert!(!home.berth(&["images"]).fine().contains("busybox"));
    let err = home.berth(&["artifact", "inspect", DEMO]);
    assert!(err.code == 1 && err.err.contains("is an image"), "{err:?}");
    assert_eq!(home.berth(&["artifact", "rm", DEMO]).code, 1);
    let err = home.berth(&["run", "--rm", name, "true"]).refused();
    assert!(err.contains("is no container image but"), "{err}");
    assert_eq!(home.berth(&["artifact", "rm", "-i", "none", name]).fine(), format!("{name}\n"));
    let said = home.berth(&["artifact", "rm", name]);
    assert!(said.code == 1 && said.err.contains("no artifact"), "{said:?}");
    home.clean();
}

#[test]
fn an_artifact_is_made_pushed_and_read_by_skopeo() {
    require_root!();
    require!(has_program("docker-registry"), "needs the package docker-registry");
    require!(has_program("skopeo"), "needs the package skopeo");
    let home = Home::start();
    let there = DockerRegistry::start();
    home.feed(&["login", "-u", "me", "--password-stdin", &there.host], b"s3cret").fine();
    let weights: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(home.dir.path().join("weights"), &weights).unwrap();
    std::fs::write(home.dir.path().join("empty"), "").unwrap();
    let name = format!("{}/models/tiny:1", there.host);
    let kind = "application/vnd.example.model";
    let add = |rest: &[&str]| {
        let arguments = [&["artifact", "add", "--type", kind, "--annotation", "license=MIT"], rest];
        home.berth(&arguments.concat())
    };
    let digest = add(&[&name, "weights", "empty"]).fine();
    let err = add(&[&name, "weights"]).refused();
    assert!(err.contains("--replace"), "{err}");
    assert!(add(&["localhost/x:1", "."]).refused().contains("no regular file"));
    assert!(add(&["localhost/x:1", "weights", "./weights"]).refused().contains("two files are called"));
    assert_eq!(add(&["--replace", &name, "weights", "empty"]).fine(), digest, "the same files are the same");
    assert_eq!(home.berth(&["artifact", "push", "-q", &name]).fine(), digest);

    let copied = home.dir.path().join("copied");
    let skopeo = |arguments: &[&str]| {
        let said = Command::new("skopeo").args(arguments).output().unwrap();
        assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        said.stdout
    };
    let target = format!("dir:{}", copied.display());
    skopeo(&[
        "copy",
        "--src-tls-verify=false",
        "--src-creds=me:s3cret",
        &format!("docker://{name}"),
        &target,
    ]);
    let manifest = std::fs::read(copied.join("manifest.json")).unwrap();
    assert_eq!(format!("{}\n", digest_of(&manifest)), digest);
    assert_eq!(std::fs::read(copied.join(digest_of(&weights).hex())).unwrap(), weights);
    let read: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(
        (&read["artifactType"], &read["layers"][0]["annotations"]["license"]),
        (&json!(kind), &json!("MIT"))
    );

    // What skopeo sent elsewhere is the same artifact, and a pull of it is this one.
    let other = format!("{}/models/copy:2", there.host);
    let to = format!("docker://{other}");
    skopeo(&["copy", "--dest-tls-verify=false", "--dest-creds=me:s3cret", &target, &to]);
    let id = home.berth(&["artifact", "pull", "-q", &other]).fine();
    let shown = home.berth(&["artifact", "inspect", &name]).json();
    assert_eq!(shown[0]["Id"], id.trim());
    assert_eq!(home.berth(&["artifact", "rm", "--all"]).code, 0);
    assert_eq!(home.berth(&["artifact", "ls", "-o", "json"]).json(), json!([]));

    // A configuration that is no empty one comes from where the artifact was pulled.
    let built = publish("library/second", &[(Some("x"), b"x")]);
    home.berth(&["artifact", "pull", "-q", "docker.io/library/second:1"]).fine();
    let to = format!("{}/charts/second:1", there.host);
    let said = home.berth(&["artifact", "push", "-q", "docker.io/library/second:1", &to]).fine();
    assert_eq!(said, format!("{}\n", built.digest));
    home.clean();
}
