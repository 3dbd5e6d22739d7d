//! Filters of lists.

use std::collections::BTreeMap;

use super::{known, selected};
use crate::api;
use crate::error::FieldError;

/// Which sandboxes a list shows.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes {
    id: String,
    state: Option<api::PodSandboxState>,
    labels: BTreeMap<String, String>,
}

impl Sandboxes {
    /// The filter asked for; None shows all.
    pub(crate) fn from_api(from: Option<api::PodSandboxFilter>) -> Result<Self, FieldError> {
        let from = from.unwrap_or_default();
        let state = from.state.map(|state| known("filter.state.state", state.state)).transpose()?;
        Ok(Self { id: from.id, state, labels: from.label_selector })
    }

    /// The filter of a list of statistics; None shows all.
    pub(crate) fn of_stats(from: Option<api::PodSandboxStatsFilter>) -> Self {
        let from = from.unwrap_or_default();
        Self { id: from.id, state: None, labels: from.label_selector }
    }

    /// Whether it lets the row through. Ids may be cut short.
    pub(crate) fn shows(&self, row: &api::PodSandbox) -> bool {
        row.id.starts_with(&self.id)
            && self.state.is_none_or(|state| state as i32 == row.state)
            && selected(&row.labels, &self.labels)
    }
}

/// Which containers a list shows.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    id: String,
    sandbox: String,
    state: Option<api::ContainerState>,
    labels: BTreeMap<String, String>,
}

impl Containers {
    /// The filter asked for; None shows all.
    pub(crate) fn from_api(from: Option<api::ContainerFilter>) -> Result<Self, FieldError> {
        let from = from.unwrap_or_default();
        let state = from.state.map(|state| known("filter.state.state", state.state)).transpose()?;
        Ok(Self { id: from.id, sandbox: from.pod_sandbox_id, state, labels: from.label_selector })
    }

    /// The filter of a list of statistics; None shows all.
    pub(crate) fn of_stats(from: Option<api::ContainerStatsFilter>) -> Self {
        let from = from.unwrap_or_default();
        Self { id: from.id, sandbox: from.pod_sandbox_id, state: None, labels: from.label_selector }
    }

    /// Whether it lets the row through. Ids may be cut short.
    pub(crate) fn shows(&self, row: &api::Container) -> bool {
        row.id.starts_with(&self.id)
            && row.pod_sandbox_id.starts_with(&self.sandbox)
            && self.state.is_none_or(|state| state as i32 == row.state)
            && selected(&row.labels, &self.labels)
    }
}
