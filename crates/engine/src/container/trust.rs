//! Whether a pod may use an image that is here already.

use std::sync::Arc;

use berth_image::{Image, pull};

use super::create::Work;
use crate::error::EngineError;
use crate::model::Owner;
use crate::shared::Shared;

impl Work {
    /// Asks the policy of the pod's namespace, which need not be the one by which the image was pulled. Pods of the command line are in
    /// no namespace that has one.
    pub(super) async fn trust(&self, image: &Arc<Image>) -> Result<(), EngineError> {
        if self.sandbox.owner != Owner::Cri {
            return Ok(());
        }
        let asked = &self.config.image;
        let name = if asked.user_specified.is_empty() { &asked.image } else { &asked.user_specified };
        let (name, image, images) = (name.clone(), Arc::clone(image), self.shared.images.clone());
        let (places, namespace) = (self.shared.registry.places(), self.sandbox.metadata.namespace.clone());
        Shared::blocking(move || {
            let used = pull::may_use(&images, &places, &namespace, &name, &image);
            used.map_err(|e| EngineError::failed(format!("use the image {name:?}"), e))
        })
        .await
    }
}
