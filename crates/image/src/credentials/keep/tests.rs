use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::super::{Credentials, Secret};
use super::*;

fn basic(username: &str, password: &str) -> Credentials {
    Credentials::Basic { username: username.into(), password: Secret::new(password) }
}

#[tokio::test]
async fn what_is_kept_is_found_and_what_else_is_there_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("below/config.json");
    let file = AuthFile::at(path.clone());
    assert!(!file.forget("registry.example").await.unwrap());
    assert!(!path.exists());
    file.keep("registry.example", "me", "a:b").await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let files = CredentialFiles::new(vec![path.clone()]);
    assert_eq!(files.lookup("registry.example", "x").await.unwrap(), basic("me", "a:b"));

    let text = r#"{"psFormat": "x", "auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}, "other/team": {"auth": "YTpi"}}}"#;
    std::fs::write(&path, text).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    let file = AuthFile::at(link.clone());
    file.keep("docker.io", "you", "p").await.unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(files.lookup("docker.io", "library/x").await.unwrap(), basic("you", "p"));
    assert!(file.forget("docker.io").await.unwrap());
    let left: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(left, json!({ "psFormat": "x", "auths": { "other/team": { "auth": "YTpi" } } }));
}

#[tokio::test]
async fn what_is_no_file_of_credentials_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    for text in ["[]", "{\"auths\": 5}", "{", "{\"auths\": {}, \"credsStore\": 5}"] {
        std::fs::write(&path, text).unwrap();
        assert!(AuthFile::at(path.clone()).keep("a.example", "me", "p").await.is_err(), "{text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

/// What is kept is where it is found: a login beside an older one of another program replaces that.
#[tokio::test]
async fn the_file_that_knows_the_registry_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let environment = Environment { home: Some(dir.path().to_owned()), ..Environment::default() };
    let podman = dir.path().join(".config/containers/auth.json");
    std::fs::create_dir_all(podman.parent().unwrap()).unwrap();
    std::fs::write(&podman, r#"{"auths":{"a.example":{"auth":"b2xkOm9sZA=="}}}"#).unwrap();
    let looked = async |registry: &str| {
        AuthFile::standard(&environment, registry).unwrap().keep(registry, "me", "p").await.unwrap();
        CredentialFiles::standard(&environment).lookup(registry, "x").await.unwrap()
    };
    assert_eq!(looked("a.example").await, basic("me", "p"));
    assert_eq!(looked("b.example").await, basic("me", "p"));
    let docker = std::fs::read_to_string(dir.path().join(".docker/config.json")).unwrap();
    assert!(docker.contains("b.example") && !docker.contains("a.example"), "{docker}");
}

#[tokio::test]
async fn a_file_stays_its_owners_and_no_link_is_written_through() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let dir = tempfile::tempdir().unwrap();
    if chown(dir.path(), Some(1234), Some(2345)).is_err() {
        println!("skipped: a_file_stays_its_owners_and_no_link_is_written_through: needs root");
        return;
    }
    let path = dir.path().join("home/.docker/config.json");
    let owners = |path: &Path| std::fs::metadata(path).map(|meta| (meta.uid(), meta.gid())).unwrap();
    AuthFile::at(path.clone()).keep("a.example", "me", "p").await.unwrap();
    for made in [path.as_path(), path.parent().unwrap(), &dir.path().join("home")] {
        assert_eq!(owners(made), (1234, 2345), "{}", made.display());
    }
    chown(&path, Some(77), Some(78)).unwrap();
    AuthFile::at(path.clone()).keep("b.example", "me", "p").await.unwrap();
    assert_eq!(owners(&path), (77, 78));

    // A link to what is not there yet is replaced, not followed; so is one in the place of a temporary file.
    let (victim, link) = (dir.path().join("victim"), dir.path().join("link.json"));
    symlink(&victim, &link).unwrap();
    symlink(&victim, dir.path().join(format!("link.json.{}-0.tmp", std::process::id()))).unwrap();
    AuthFile::at(link.clone()).keep("a.example", "me", "p").await.unwrap();
    assert!(!victim.exists());
    assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
}
