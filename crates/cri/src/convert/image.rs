//! Images.

use std::collections::BTreeSet;

use berth_engine::image::Image;
use berth_engine::image::credentials::{Keyring, RequestAuth, Secret};

use crate::api;
use crate::error::FieldError;
use berth_engine::image::pull::PullRequest;

/// Takes the name of a handler that is known from a request: images are the same for all of them, so that it means what none does.
pub(crate) fn for_all(spec: &mut api::ImageSpec, is_known: impl Fn(&str) -> bool) {
    if !spec.image.is_empty() && is_known(&spec.runtime_handler) {
        spec.runtime_handler.clear();
    }
}

/// Refuses an unknown runtime handler: what is left after [`for_all`].
pub(crate) fn handler(field: impl Into<String>, name: &str) -> Result<(), FieldError> {
    match name {
        "" | "native" => Ok(()),
        other => Err(FieldError::invalid(field, format!("unknown handler {other:?}"))),
    }
}

/// The image that a request is about.
pub(crate) fn named(from: Option<api::ImageSpec>) -> Result<String, FieldError> {
    let spec = from.filter(|spec| !spec.image.is_empty()).ok_or(FieldError::Missing("image.image"))?;
    handler("image.runtime_handler", &spec.runtime_handler)?;
    Ok(spec.image)
}

/// The image that a list is about; None is all.
pub(crate) fn filter(from: Option<api::ImageFilter>) -> Result<Option<String>, FieldError> {
    let Some(spec) = from.and_then(|filter| filter.image) else { return Ok(None) };
    handler("filter.image.runtime_handler", &spec.runtime_handler)?;
    Ok(Some(spec.image).filter(|name| !name.is_empty()))
}

/// The pull asked for.
pub(crate) fn pull(from: api::PullImageRequest) -> Result<PullRequest, FieldError> {
    Ok(PullRequest {
        reference: named(from.image)?,
        // A kubelet brings the credentials of the pod; files of this machine are not the pod's.
        keyring: Keyring { request: from.auth.map(auth).transpose()?.flatten(), files: None },
        platform: None,
        artifact: false,
    })
}

/// The credentials of a request; None when it brought none.
fn auth(from: api::AuthConfig) -> Result<Option<RequestAuth>, FieldError> {
    if from.username.is_empty() && !from.password.is_empty() {
        return Err(FieldError::invalid("auth.password", "it needs a user name"));
    }
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
    Ok((!empty).then_some(auth))
}

/// An image. `pinned` are the ids of images that pods use which a kubelet does not know.
pub(crate) fn to_api(image: &Image, pinned: &BTreeSet<String>) -> api::Image {
    let (uid, username) = user(&image.config.user);
    api::Image {
        id: image.id.to_string(),
        repo_tags: image.tags.clone(),
        repo_digests: image.repo_digests.clone(),
        // A kubelet treats a size of 0 as a broken answer.
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
    // Signs are read as the engine reads them: what it takes for a name must not be shown as a uid.
    let digits = name.strip_prefix('+').unwrap_or(name);
    match digits.parse::<i64>() {
        Ok(value) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            (Some(api::Int64Value { value }), String::new())
        }
        Ok(_) | Err(_) => (None, name.to_owned()),
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
            ("+1000", Some(1000), ""),
            ("+0:+0", Some(0), ""),
            ("-1", None, "-1"),
            ("++1", None, "++1"),
            ("+-1", None, "+-1"),
            ("+", None, "+"),
        ] {
            let (got, got_name) = user(text);
            assert_eq!((got.map(|v| v.value), got_name.as_str()), (uid, name), "{text:?}");
        }
    }

    #[test]
    fn a_handler_that_is_known_means_what_none_does() {
        let after = |image: &str, name: &str| {
            let mut spec = api::ImageSpec { image: image.into(), ..Default::default() };
            spec.runtime_handler = name.into();
            for_all(&mut spec, |name| name == "runc");
            named(Some(spec)).map_err(|e| e.to_string())
        };
        assert_eq!(after("a.io/i", "runc").as_deref(), Ok("a.io/i"));
        assert_eq!(after("a.io/i", "").as_deref(), Ok("a.io/i"));
        assert!(after("a.io/i", "kata").unwrap_err().contains("unknown handler \"kata\""));
        assert!(after("", "runc").is_err());
    }

    #[test]
    fn empty_credentials_are_none() {
        assert!(auth(api::AuthConfig::default()).unwrap().is_none());
        let some = api::AuthConfig { username: "u".into(), password: "p".into(), ..Default::default() };
        assert_eq!(auth(some).unwrap().map(|a| a.username).as_deref(), Some("u"));
    }

    #[test]
    fn a_password_without_a_user_is_refused() {
        let alone = api::AuthConfig { password: "p".into(), ..Default::default() };
        let error = auth(alone).unwrap_err().to_string();
        assert_eq!(error, "auth.password: it needs a user name");
    }
}
