use berth_testkit::executable;

use super::*;

fn basic(username: &str, password: &str) -> Credentials {
    Credentials::Basic { username: username.into(), password: Secret::new(password) }
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

#[test]
fn secrets_are_never_printed() {
    let auth = RequestAuth {
        username: "kim".into(),
        password: Secret::new("hunter2"),
        identity_token: Secret::new("hunter3"),
        auth: Secret::new(base64("a:hunter4")),
        ..RequestAuth::default()
    };
    let text = format!("{auth:?} {:?}", basic("kim", "hunter2"));
    assert!(!text.contains("hunter") && !text.contains(&base64("a:hunter4")), "{text}");
    assert!(text.contains("kim"));
}

#[test]
fn a_request_gives_credentials_in_containerds_order() {
    let all = RequestAuth {
        username: "kim".into(),
        password: Secret::new("pw"),
        auth: Secret::new(base64("lee:pw2")),
        identity_token: Secret::new("id"),
        registry_token: Secret::new("reg"),
        server_address: String::new(),
    };
    assert_eq!(all.credentials(), Ok(basic("kim", "pw")));
    let all = RequestAuth { username: String::new(), ..all };
    assert_eq!(all.credentials(), Ok(Credentials::IdentityToken(Secret::new("id"))));
    let all = RequestAuth { identity_token: Secret::default(), ..all };
    assert_eq!(all.credentials(), Ok(basic("lee", "pw2")));
    let all = RequestAuth { auth: Secret::default(), ..all };
    assert_eq!(all.credentials(), Ok(Credentials::RegistryToken(Secret::new("reg"))));
    assert_eq!(RequestAuth::default().credentials(), Ok(Credentials::Anonymous));
}

#[test]
fn the_auth_field_may_be_padded_and_hold_colons() {
    let auth = |text: &str| RequestAuth { auth: Secret::new(text), ..RequestAuth::default() };
    assert_eq!(auth(&base64("kim:a:b")).credentials(), Ok(basic("kim", "a:b")));
    assert_eq!(auth(&base64("kim:pw\0\0\0")).credentials(), Ok(basic("kim", "pw")));
    assert_eq!(auth(base64("kim:pw1").trim_end_matches('=')).credentials(), Ok(basic("kim", "pw1")));
    for bad in ["!", "a", &base64("nocolon"), &base64(":pw"), &base64("k\nm:pw")] {
        assert_eq!(auth(bad).credentials(), Err(AuthError::Malformed), "{bad}");
    }
    let colon = RequestAuth { username: "a:b".into(), ..RequestAuth::default() };
    assert_eq!(colon.credentials(), Err(AuthError::Username));
}

#[test]
fn what_goes_through_secrets_of_clusters_is_read() {
    let lines = |text: &str| {
        let text = base64(text);
        let (first, second) = text.split_at(8);
        RequestAuth { auth: Secret::new(format!("{first}\n{second}\n")), ..RequestAuth::default() }
    };
    // A key as a password: JSON in several lines.
    assert_eq!(lines("_json_key:{\n}\n").credentials(), Ok(basic("_json_key", "{\n}\n")));
    let refresh = RequestAuth {
        username: "00000000-0000-0000-0000-000000000000".into(),
        identity_token: Secret::new("id"),
        ..RequestAuth::default()
    };
    assert_eq!(refresh.credentials(), Ok(Credentials::IdentityToken(Secret::new("id"))));
}

#[test]
fn servers_are_compared_by_host_and_port() {
    for (a, b) in [
        ("registry.example", "https://registry.example/v2/"),
        ("registry.example", "https://Registry.Example:443"),
        ("docker.io", "https://index.docker.io/v1/"),
        ("docker.io", "registry-1.docker.io"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
    ] {
        assert!(same_server(a, b), "{a} {b}");
    }
    for (a, b) in [
        ("registry.example", "registry.example:5000"),
        ("registry.example", "registry.example.evil"),
        ("a.example", "https://b.example/a.example"),
        ("docker.io", "docker.io.evil"),
    ] {
        assert!(!same_server(a, b), "{a} {b}");
    }
}

#[tokio::test]
async fn request_credentials_go_to_their_server_only_and_are_not_completed_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let text = format!(r#"{{"auths":{{"mirror.example":{{"auth":"{}"}}}}}}"#, base64("file:pw"));
    std::fs::write(&file, text).unwrap();
    let request = RequestAuth { username: "kim".into(), ..RequestAuth::default() };
    let keyring = Keyring { request: Some(request), files: Some(CredentialFiles::new(vec![file.clone()])) };
    assert_eq!(keyring.lookup("a.example", "a.example", "x").await.unwrap(), basic("kim", ""));
    assert_eq!(keyring.lookup("mirror.example", "a.example", "x").await.unwrap(), Credentials::Anonymous);
    let keyring = Keyring { request: None, files: Some(CredentialFiles::new(vec![file])) };
    assert_eq!(keyring.lookup("mirror.example", "a.example", "x").await.unwrap(), basic("file", "pw"));
}

async fn from_file(text: &str, host: &str, repository: &str) -> Result<Credentials, FileError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    std::fs::write(&file, text).unwrap();
    CredentialFiles::new(vec![dir.path().join("none.json"), file]).lookup(host, repository).await
}

#[tokio::test]
async fn nulls_and_empty_entries_say_nothing() {
    let text = format!(
        r#"{{"auths":{{"a.example":{{}},"https://a.example/v2/":{{"auth":"{}","email":null,"username":null}},
            "b.example":null,"a.example/team":null}},"credHelpers":null,"credsStore":null}}"#,
        base64("kim:pw")
    );
    for (host, found) in [("a.example", basic("kim", "pw")), ("b.example", Credentials::Anonymous)] {
        assert_eq!(from_file(&text, host, "team/app").await.unwrap(), found, "{host}");
    }
    assert_eq!(from_file(r#"{"auths":null}"#, "a.example", "x").await.unwrap(), Credentials::Anonymous);
    // A helper for a part of a host's repositories is not for all of them.
    let text = r#"{"credHelpers":{"a.example/team":"none-such"}}"#;
    assert_eq!(from_file(text, "a.example", "x").await.unwrap(), Credentials::Anonymous);
}

#[tokio::test]
async fn docker_and_podman_entries_are_found() {
    let text = format!(
        r#"{{"auths":{{
            "https://index.docker.io/v1/":{{"auth":"{}"}},
            "quay.example":{{"auth":"{}"}},
            "quay.example/team":{{"auth":"{}"}},
            "id.example":{{"identitytoken":"refresh"}}
        }},"credsStore":"","other":[1]}}"#,
        base64("hub:1"),
        base64("host:2"),
        base64("team:3")
    );
    for (host, repository, found) in [
        ("docker.io", "library/busybox", basic("hub", "1")),
        ("quay.example", "x/y", basic("host", "2")),
        ("quay.example", "team/app", basic("team", "3")),
        ("quay.example", "teams/app", basic("host", "2")),
        ("id.example", "x", Credentials::IdentityToken(Secret::new("refresh"))),
        ("nobody.example", "x", Credentials::Anonymous),
    ] {
        assert_eq!(from_file(&text, host, repository).await.unwrap(), found, "{host}/{repository}");
    }
}

#[tokio::test]
async fn malformed_files_are_named_and_not_shown() {
    let error = from_file(r#"{"auths": {"a": {"auth": "hunter2""#, "a", "x").await.unwrap_err();
    assert!(error.to_string().contains("config.json") && !error.to_string().contains("hunter2"), "{error}");
    let error = from_file(r#"{"auths": {"a.example": {"auth": "%"}}}"#, "a.example", "x").await.unwrap_err();
    assert!(error.to_string().contains("a.example"), "{error}");
    assert_eq!(from_file("", "a", "x").await.unwrap(), Credentials::Anonymous);
    let huge = " ".repeat((1 << 20) + 1);
    assert!(matches!(from_file(&huge, "a", "x").await, Err(FileError::TooLarge { .. })));
}

#[test]
fn the_standard_places_follow_the_environment() {
    let environment = Environment {
        docker_config: Some("/d".into()),
        xdg_runtime_dir: Some("/run/user/0".into()),
        home: Some("/root".into()),
        ..Environment::default()
    };
    assert_eq!(
        CredentialFiles::standard(&environment).paths,
        ["/run/user/0/containers/auth.json", "/root/.config/containers/auth.json", "/d/config.json"]
            .map(PathBuf::from)
    );
    let only = Environment { registry_auth_file: Some("/a.json".into()), ..environment };
    assert_eq!(CredentialFiles::standard(&only).paths, [PathBuf::from("/a.json")]);
}

/// Writes a helper into a directory and gives its path without the prefix, so that it can be
/// named without touching this process's PATH.
fn helper(dir: &std::path::Path, script: &str) -> PathBuf {
    let path = dir.join("docker-credential-test");
    executable::script(&path, format!("#!/bin/sh\n{script}\n"));
    path
}

#[tokio::test]
async fn a_helper_is_asked_by_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let program =
        helper(dir.path(), r#"read server; echo "{\"Username\":\"kim\",\"Secret\":\"for-$server\"}""#);
    let found = helper::ask("test", program.as_os_str(), "a.example", helper::TIMEOUT).await.unwrap();
    assert_eq!(found, Some(basic("kim", "for-a.example")));
    let program = helper(dir.path(), r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    let found = helper::ask("test", program.as_os_str(), "a.example", helper::TIMEOUT).await.unwrap();
    assert_eq!(found, Some(Credentials::IdentityToken(Secret::new("t"))));
}

#[tokio::test]
async fn a_helper_that_knows_nothing_fails_or_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let ask = async |script: &str, limit| {
        let program = helper(dir.path(), script);
        helper::ask("test", program.as_os_str(), "a.example", limit).await
    };
    let limit = helper::TIMEOUT;
    let none = ask("echo 'credentials not found in native keychain'; exit 1", limit).await;
    assert_eq!(none.unwrap(), None);
    assert!(matches!(ask("echo hunter2; exit 3", limit).await, Err(helper::HelperError::Failed { .. })));
    assert!(matches!(ask("echo hunter2", limit).await, Err(helper::HelperError::Output(_))));
    let short = std::time::Duration::from_millis(50);
    assert!(matches!(ask("exec sleep 100", short).await, Err(helper::HelperError::Timeout(_))));
    let error = from_file(r#"{"credHelpers":{"a.example":"../evil"}}"#, "a.example", "x").await.unwrap_err();
    assert!(berth_types::error::chain(&error).contains("evil"));
}
