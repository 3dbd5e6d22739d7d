//! The steps that made an image, as its configuration tells them.

use berth_types::Digest;
use serde::Deserialize;

use super::Images;
use crate::error::StoreError;
use crate::json::nullable;

/// The most steps.
const MAX_STEPS: usize = 10_000;

/// A step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// When, as written (RFC 3339); empty for unknown.
    pub created: String,
    /// What was done; empty for unknown.
    pub created_by: String,
    /// A remark.
    pub comment: String,
    /// The bytes of its files; None where it changed no file.
    pub size: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    #[serde(deserialize_with = "nullable")]
    history: Vec<Written>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Written {
    #[serde(deserialize_with = "nullable")]
    created: String,
    #[serde(deserialize_with = "nullable")]
    created_by: String,
    #[serde(deserialize_with = "nullable")]
    comment: String,
    #[serde(deserialize_with = "nullable")]
    empty_layer: bool,
}

impl Images {
    /// The steps that made an image, the last first. Layers that no step is told of have one without words.
    ///
    /// # Errors
    /// The image is not there, or is damaged.
    pub fn history(&self, id: &Digest) -> Result<Vec<Step>, StoreError> {
        let record = self.record(id)?;
        let config: Config = serde_json::from_slice(&super::read_blob(self, id)?).unwrap_or_default();
        let sizes: Vec<u64> = record.layers.iter().map(|layer| layer.file_bytes).collect();
        Ok(steps(config.history, &sizes))
    }
}

fn steps(written: Vec<Written>, sizes: &[u64]) -> Vec<Step> {
    let mut sizes = sizes.iter().copied();
    let mut steps: Vec<Step> = Vec::new();
    for one in written.into_iter().take(MAX_STEPS) {
        let size = if one.empty_layer { None } else { sizes.next() };
        steps.push(Step { created: one.created, created_by: one.created_by, comment: one.comment, size });
    }
    steps.extend(sizes.map(|size| Step { size: Some(size), ..Step::default() }));
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_go_with_the_steps_that_made_them() {
        let text = r#"{"history": [{"created_by": "a"}, {"created_by": "env", "empty_layer": true}, {"created_by": "b", "comment": null}]}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let made = steps(config.history, &[1, 2, 3]);
        let shown: Vec<_> = made.iter().map(|step| (step.created_by.as_str(), step.size)).collect();
        assert_eq!(shown, [("", Some(3)), ("b", Some(2)), ("env", None), ("a", Some(1))]);
        assert!(steps(Vec::new(), &[]).is_empty());
    }
}
