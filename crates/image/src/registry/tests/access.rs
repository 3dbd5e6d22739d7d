//! Credentials and tokens.

use super::*;

fn login(auth: RequestAuth) -> Keyring {
    Keyring { request: Some(auth), files: None }
}

fn password(user: &str, password: &str) -> Keyring {
    login(RequestAuth { username: user.into(), password: Secret::new(password), ..RequestAuth::default() })
}

fn guarded(auth: Auth) -> TestRegistry {
    let registry = TestRegistry::builder().auth(auth).start().unwrap();
    registry.push("a/b", "1", &image("secret").build());
    registry.push("c/d", "1", &image("other").build());
    registry
}

fn account() -> Auth {
    Auth::Bearer { account: Some(("kim".into(), "s3cret".into())) }
}

async fn resolve(registry: &TestRegistry, keyring: Keyring) -> Result<Resolved, RegistryError> {
    source(registry, "a/b:1", config(), keyring).resolve(&platform()).await
}

#[tokio::test]
async fn basic_credentials_are_shown_when_asked_for() {
    let registry = guarded(Auth::Basic { user: "kim".into(), password: "s3cret".into() });
    resolve(&registry, password("kim", "s3cret")).await.unwrap();
    let shown: Vec<bool> = registry.requests().iter().map(|r| r.authorization.is_some()).collect();
    assert_eq!(shown, [false, true, true], "once refused, then known");
}

#[tokio::test]
async fn a_bearer_token_is_fetched_once_and_used_for_all_of_a_repository() {
    let registry = guarded(account());
    resolve(&registry, password("kim", "s3cret")).await.unwrap();
    let tokens = registry.requests().iter().filter(|r| r.path == "/token").count();
    assert_eq!(tokens, 1);
    let request = registry.requests().into_iter().find(|r| r.path == "/token").unwrap();
    assert!(request.query.contains("service=berth%20test"), "{}", request.query);
    assert!(request.query.contains("scope=repository%3Aa%2Fb%3Apull"), "{}", request.query);
}

#[tokio::test]
async fn anybody_may_have_a_token_where_no_account_is_needed() {
    let registry = guarded(Auth::Bearer { account: None });
    resolve(&registry, Keyring::default()).await.unwrap();
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let registry = guarded(Auth::Identity { refresh: "refresh-1".into() });
    let keyring = login(RequestAuth { identity_token: Secret::new("refresh-1"), ..RequestAuth::default() });
    resolve(&registry, keyring).await.unwrap();
    let request = registry.requests().into_iter().find(|r| r.path == "/token").unwrap();
    assert_eq!(request.method, "POST");
}

#[tokio::test]
async fn wrong_credentials_fail_at_once_and_say_so() {
    for auth in [account(), Auth::Basic { user: "kim".into(), password: "s3cret".into() }] {
        let registry = guarded(auth);
        let error = resolve(&registry, password("kim", "wrong")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("401"), "{error}");
        assert!(
            !error.to_string().contains("wrong") && !format!("{error:?}").contains("\"wrong\""),
            "{error:?}"
        );
        assert!(registry.requests().len() <= 3, "{:?}", registry.requests());
    }
}

#[tokio::test]
async fn without_credentials_the_hint_says_that_none_were_given() {
    let registry = guarded(account());
    let error = resolve(&registry, Keyring::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.hint().unwrap().contains("no credentials"));
}

#[tokio::test]
async fn a_token_that_ended_early_is_replaced() {
    let registry = guarded(account());
    let source = source(&registry, "a/b:1", config(), password("kim", "s3cret"));
    source.resolve(&platform()).await.unwrap();
    registry.revoke_tokens();
    source.resolve(&platform()).await.unwrap();
    assert_eq!(registry.requests().iter().filter(|r| r.path == "/token").count(), 2);
}

#[tokio::test]
async fn a_token_serves_only_the_credentials_that_bought_it() {
    let registry = guarded(account());
    let client = Registry::new(config());
    let reference: ImageRef = format!("{}/a/b:1", registry.host()).parse().unwrap();
    let with = |keyring| Source::new(&client, reference.clone(), keyring).unwrap();
    with(password("kim", "s3cret")).resolve(&platform()).await.unwrap();
    for keyring in [Keyring::default(), password("kim", "guess")] {
        assert_eq!(with(keyring).resolve(&platform()).await.unwrap_err().kind(), Kind::Denied);
    }
}

#[tokio::test]
async fn credentials_for_another_server_are_not_shown() {
    let registry = guarded(account());
    let auth = RequestAuth {
        username: "kim".into(),
        password: Secret::new("s3cret"),
        server_address: "registry.example".into(),
        ..RequestAuth::default()
    };
    assert_eq!(resolve(&registry, login(auth)).await.unwrap_err().kind(), Kind::Denied);
    assert!(registry.requests().iter().all(|r| r.authorization.is_none()));
}

#[tokio::test]
async fn a_registry_token_is_shown_as_it_is() {
    let registry = guarded(account());
    let auth = RequestAuth { registry_token: Secret::new("handmade"), ..RequestAuth::default() };
    // The registry does not know this token: what counts is that it was shown.
    resolve(&registry, login(auth)).await.unwrap_err();
    assert_eq!(registry.requests()[0].authorization.as_deref(), Some("Bearer handmade"));
}

#[tokio::test]
async fn a_token_server_that_fails_or_rambles_is_named() {
    for action in [FaultAction::Status(500, None), FaultAction::WrongBytes, FaultAction::TooLong(1 << 20)] {
        let registry = guarded(Auth::Bearer { account: None });
        registry.fault(Fault::new(On::Tokens, action.clone()));
        match resolve(&registry, Keyring::default()).await {
            Ok(_) => assert!(!matches!(action, FaultAction::Status(..)), "the token faults reach the client"),
            Err(error) => assert!(error.to_string().contains("token"), "{error}"),
        }
    }
}
