//! Where variables come from.

use serde::Deserialize;

use crate::manifest::Quantity;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    pub name: String,
    #[serde(default)]
    pub value: String,
    #[serde(default)]
    pub value_from: Option<EnvVarSource>,
}

/// One of these.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVarSource {
    #[serde(default)]
    pub field_ref: Option<FieldSelector>,
    #[serde(default)]
    pub resource_field_ref: Option<ResourceSelector>,
    #[serde(default)]
    pub config_map_key_ref: Option<KeySelector>,
    #[serde(default)]
    pub secret_key_ref: Option<KeySelector>,
    #[serde(default)]
    pub file_key_ref: Option<FileKeySelector>,
}

/// A variable of a file in a volume of the pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileKeySelector {
    pub volume_name: String,
    pub path: String,
    pub key: String,
    #[serde(default)]
    pub optional: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldSelector {
    #[serde(default)]
    pub api_version: Option<String>,
    pub field_path: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceSelector {
    #[serde(default)]
    pub container_name: Option<String>,
    pub resource: String,
    #[serde(default)]
    pub divisor: Option<Quantity>,
}

/// A key of a ConfigMap or Secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySelector {
    pub name: String,
    pub key: String,
    #[serde(default)]
    pub optional: bool,
}

/// One of the two references.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvFromSource {
    #[serde(default)]
    pub prefix: String,
    #[serde(default)]
    pub config_map_ref: Option<Reference>,
    #[serde(default)]
    pub secret_ref: Option<Reference>,
}

/// A ConfigMap or Secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    pub name: String,
    #[serde(default)]
    pub optional: bool,
}
