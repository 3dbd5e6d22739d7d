use super::*;

fn reader(json: &str, dir: &tempfile::TempDir) -> Reader {
    let path = dir.path().join("config.json");
    std::fs::write(&path, json).unwrap();
    Reader { files: CredentialFiles::new(vec![path]), short_name_hosts: vec!["docker.io".into()] }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

const TWO: &str = r#"{"auths": {
    "https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldA=="},
    "registry.example:5000": {"username": "me", "password": "mine"}
}}"#;

#[test]
fn each_image_gets_what_its_own_registry_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(TWO, &dir);
    let found = on_runtime(reader.image("registry.example:5000/a/b:1")).unwrap();
    assert_eq!(
        (found.server.as_str(), found.username.as_str(), found.password.as_str()),
        ("registry.example:5000", "me", "mine")
    );
    let short = on_runtime(reader.image("busybox")).unwrap();
    assert_eq!(
        (short.image.as_str(), short.server.as_str(), short.username.as_str()),
        ("busybox", "docker.io", "hub")
    );
    assert_eq!(on_runtime(reader.image("elsewhere.example/a")), None);
    assert_eq!(on_runtime(reader.image("not an image")), None);
}

#[test]
fn a_manifest_gets_one_for_each_image() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(TWO, &dir);
    let manifest = br#"
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  initContainers: [{name: i, image: "registry.example:5000/a"}]
  containers: [{name: a, image: "registry.example:5000/a"}, {name: b, image: docker.io/library/b}, {name: c, image: x.example/c}]
"#;
    let images: Vec<_> = on_runtime(reader.manifest(manifest)).into_iter().map(|auth| auth.image).collect();
    assert_eq!(images, ["docker.io/library/b", "registry.example:5000/a"]);
    assert!(on_runtime(reader.manifest(b"kind: Deployment")).is_empty());
}

#[test]
fn a_broken_file_is_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(on_runtime(reader("{", &dir).image("docker.io/library/busybox")), None);
}
