//! What a written reference may mean.

use berth_types::ImageRef;
use berth_types::reference::{ParseRefError, Parsed};

use super::PullError;

/// The most registries that a short name is looked for on.
const MAX_REGISTRIES: usize = 16;

/// The complete references that `text` may mean, in the order in which they are tried.
///
/// A short name means nothing by itself: it is completed with the configured registries, or
/// refused. It is never silently completed with one that the operator did not name.
pub fn candidates(text: &str, unqualified: &[String]) -> Result<Vec<ImageRef>, PullError> {
    let short = match ImageRef::parse(text)? {
        Parsed::Full(full) => return Ok(vec![canonical(full)?]),
        Parsed::Short(short) => short,
    };
    if unqualified.is_empty() {
        let full = short.on_host("docker.io")?.to_string();
        return Err(PullError::ShortName { name: text.to_owned(), example: full });
    }
    Ok(unqualified
        .iter()
        .take(MAX_REGISTRIES)
        .map(|host| short.on_host(host))
        .collect::<Result<Vec<_>, ParseRefError>>()?)
}

/// Docker Hub's repositories of one element live in `library/`, and `index.docker.io` is `docker.io`.
fn canonical(full: ImageRef) -> Result<ImageRef, ParseRefError> {
    let hub = matches!(full.host(), "docker.io" | "index.docker.io" | "registry-1.docker.io");
    if !hub || (full.host() == "docker.io" && full.path().contains('/')) {
        return Ok(full);
    }
    let (_, rest) =
        full.to_string().split_once('/').map(|(h, r)| (h.to_owned(), r.to_owned())).unwrap_or_default();
    match ImageRef::parse(&rest)? {
        Parsed::Short(short) => short.on_host("docker.io"),
        // The first element looks like a host: keep the reference as it was written.
        Parsed::Full(_) => Ok(full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str, unqualified: &[&str]) -> Vec<String> {
        let unqualified: Vec<String> = unqualified.iter().map(|s| s.to_string()).collect();
        candidates(text, &unqualified).unwrap().iter().map(ImageRef::to_string).collect()
    }

    #[test]
    fn a_full_name_means_itself() {
        assert_eq!(full("registry.example/a/b:1", &["x.example"]), ["registry.example/a/b:1"]);
        assert_eq!(full("localhost:5000/a", &[]), ["localhost:5000/a:latest"]);
    }

    #[test]
    fn docker_hub_has_one_name() {
        for text in
            ["docker.io/busybox", "index.docker.io/library/busybox", "registry-1.docker.io/busybox:latest"]
        {
            assert_eq!(full(text, &[]), ["docker.io/library/busybox:latest"], "{text}");
        }
    }

    #[test]
    fn a_short_name_is_tried_in_the_configured_order() {
        assert_eq!(
            full("busybox:1.36", &["registry.example:5000", "docker.io"]),
            ["registry.example:5000/busybox:1.36", "docker.io/library/busybox:1.36"]
        );
    }

    #[test]
    fn a_short_name_without_configuration_is_refused_with_a_full_example() {
        let error = candidates("busybox", &[]).unwrap_err();
        assert!(error.to_string().contains("busybox"));
        let hint = berth_types::Classify::hint(&error).unwrap();
        assert!(hint.contains("docker.io/library/busybox:latest"), "{hint}");
    }
}
