//! Images.

use std::collections::BTreeSet;

use berth_engine::image::Image;
use berth_engine::image::credentials::{RequestAuth, Secret};

use crate::api;

/// The credentials of a request; None when it brought none.
pub(crate) fn auth(from: api::AuthConfig) -> Option<RequestAuth> {
    let auth = RequestAuth {
        username: from.username,
        password: Secret::new(from.password),
        auth: Secret::new(from.auth),
        server_address: from.server_address,
        identity_token: Secret::new(from.identity_token),
        registry_token: Secret::new(from.registry_token),
    };
    let empty = auth.username.is_empty()
        && auth.auth.is_empty()
        && auth.identity_token.is_empty()
        && auth.registry_token.is_empty();
    (!empty).then_some(auth)
}

/// An image. `pinned` are the ids of images that pods use which a kubelet does not know.
pub(crate) fn to_api(image: &Image, pinned: &BTreeSet<String>) -> api::Image {
    let (uid, username) = user(&image.config.user);
    api::Image {
        id: image.id.to_string(),
        repo_tags: image.tags.clone(),
        repo_digests: image.repo_digests.clone(),
        // A kubelet takes a size of 0 for a broken answer.
        size: image.size.max(1),
        uid,
        username,
        spec: Some(api::ImageSpec { image: image.id.to_string(), ..api::ImageSpec::default() }),
        pinned: image.pinned || pinned.contains(image.id.as_str()),
    }
}

/// What a kubelet decides runAsNonRoot by: a number is a uid and never a name, and what is no
/// usable number is a name. No user at all is root, as uid 0.
fn user(user: &str) -> (Option<api::Int64Value>, String) {
    let name = user.split(':').next().unwrap_or_default();
    if name.is_empty() {
        return (Some(api::Int64Value { value: 0 }), String::new());
    }
    match name.parse::<i64>() {
        Ok(value) => (Some(api::Int64Value { value }), String::new()),
        Err(_) => (None, name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_as_a_kubelet_reads_them() {
        for (text, uid, name) in [
            ("", Some(0), ""),
            ("0", Some(0), ""),
            ("1000:1000", Some(1000), ""),
            ("www-data", None, "www-data"),
            ("www-data:33", None, "www-data"),
            ("99999999999999999999", None, "99999999999999999999"),
        ] {
            let (got, got_name) = user(text);
            assert_eq!((got.map(|v| v.value), got_name.as_str()), (uid, name), "{text:?}");
        }
    }

    #[test]
    fn empty_credentials_are_none() {
        assert!(auth(api::AuthConfig::default()).is_none());
        let some = api::AuthConfig { username: "u".into(), password: "p".into(), ..Default::default() };
        assert_eq!(auth(some).map(|a| a.username).as_deref(), Some("u"));
    }
}
