//! The hooks of the hooks directories that a container gets.

use oci_spec::runtime::Spec;

use super::create::Work;
use crate::error::EngineError;
use crate::hooks_dir::{self, Subject};
use crate::shared::Shared;

impl Work {
    /// Adds the hooks that the directories have for this container, before those of its devices and of plugins.
    pub(super) async fn with_hooks(&self, mut spec: Spec) -> Result<Spec, EngineError> {
        let dirs = self.shared.hooks_dirs();
        if dirs.is_empty() {
            return Ok(spec);
        }
        // As with CRI-O the pod's own count more.
        let mut annotations = self.asked.annotations.clone();
        annotations.extend(self.sandbox.annotations.clone());
        let has_bind_mounts = !self.asked.mounts.is_empty();
        let handler = self.shared.handlers.of(&self.sandbox.handler)?;
        Shared::blocking(move || {
            let entries =
                hooks_dir::read(&dirs).map_err(|e| EngineError::invalid("hooks-dir", e.to_string()))?;
            let process = spec.process().as_ref();
            let command = process.and_then(|process| process.args().as_ref()?.first().cloned());
            let command = command.unwrap_or_default();
            let subject = Subject { command: &command, annotations: &annotations, has_bind_mounts };
            for entry in entries.iter().filter(|entry| entry.is_for(&subject)) {
                handler.has_hooks().map_err(|lacking| {
                    let message = format!("{} is for this container: {lacking}", entry.file.display());
                    EngineError::unsupported("hooks-dir", message)
                })?;
                entry.add_to(&mut spec);
            }
            Ok(spec)
        })
        .await
    }
}
