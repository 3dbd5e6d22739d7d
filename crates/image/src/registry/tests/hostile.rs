//! Any input of a server or a file gives a value or an error.

use proptest::prelude::*;

use super::super::{challenge, manifest};
use super::*;

proptest! {
    #[test]
    fn challenges_of_any_text_are_read(text in ".{0,200}") {
        challenge::parse(&text);
    }

    #[test]
    fn a_challenge_is_read_as_it_was_written(realm in "[a-z:/,=\" ]{0,20}", scope in "[a-z:/,]{0,20}") {
        let quoted = |text: &str| text.replace('"', "\\\"");
        let text = format!("Bearer realm=\"{}\", scope=\"{}\"", quoted(&realm), quoted(&scope));
        let all = challenge::parse(&text);
        prop_assert_eq!(all.len(), 1);
        prop_assert_eq!(all[0].get("realm"), Some(realm.as_str()));
        prop_assert_eq!(all[0].get("scope"), Some(scope.as_str()));
    }

    #[test]
    fn manifests_of_any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        manifest::parse(None, &bytes).ok();
    }

    #[test]
    fn manifests_with_any_values_are_read(
        version in any::<i64>(), size in any::<i64>(), digest in ".{0,80}", kind in ".{0,40}", index in any::<bool>()
    ) {
        let descriptor = serde_json::json!({"mediaType": kind, "digest": digest, "size": size});
        let key = if index { "manifests" } else { "layers" };
        let document = serde_json::json!({
            "schemaVersion": version.clamp(1, 3), "config": descriptor, key: [descriptor.clone()]
        });
        manifest::parse(None, document.to_string().as_bytes()).ok();
    }

    #[test]
    fn hosts_files_of_any_text_are_read(text in "[a-z\\[\\]\"=.:/ \n]{0,120}") {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("_default")).unwrap();
        std::fs::write(dir.path().join("_default/hosts.toml"), text).unwrap();
        crate::hosts::hosts(&[dir.path().to_owned()], "registry.example").ok();
    }

    #[test]
    fn platforms_of_any_text_are_read(text in ".{0,30}") {
        if let Ok(platform) = text.parse::<Platform>() {
            let again: Platform = platform.to_string().parse().unwrap();
            prop_assert_eq!(again, platform);
        }
    }
}
