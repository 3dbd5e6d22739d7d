//! Whether a pod may use an image that is here already.

use std::sync::Arc;

use berth_image::{Image, pull};

use super::create::Work;
use crate::error::EngineError;
use crate::model::{ImageSpec, Owner};
use crate::shared::Shared;

impl Work {
    /// The image that it is made of.
    pub(super) fn image(&self) -> Result<Arc<Image>, EngineError> {
        let name = &self.config.image.image;
        let found = self
            .shared
            .images
            .find(name)
            .map_err(|e| EngineError::failed(format!("find image {name:?}"), e))?;
        let image = found.ok_or_else(|| EngineError::NotFound { thing: "image", key: name.clone() })?;
        if image.config.artifact.is_empty() {
            return Ok(image);
        }
        let kind = &image.config.artifact;
        let message = format!("{name} is no container image but {kind:?}, which can be mounted as a volume");
        Err(EngineError::invalid("image", message))
    }

    /// Asks the policy of the pod's namespace, which need not be the one by which the image was pulled. Pods of the command line are in
    /// no namespace that has one.
    pub(super) async fn trust(&self, image: &Arc<Image>) -> Result<(), EngineError> {
        if self.sandbox.owner != Owner::Cri {
            return Ok(());
        }
        let images = self.shared.images.clone();
        let named = |asked: &ImageSpec| match asked.user_specified.is_empty() {
            true => asked.image.clone(),
            false => asked.user_specified.clone(),
        };
        let volumes = self.config.mounts.iter().filter_map(|mount| Some(&mount.image.as_ref()?.image));
        // One that is not there is refused as a volume.
        let volumes = volumes.filter_map(|asked| Some((named(asked), images.find(&asked.image).ok()??)));
        let mut used: Vec<(String, Arc<Image>)> = volumes.collect();
        used.push((named(&self.config.image), Arc::clone(image)));
        let (places, namespace) = (self.shared.registry.places(), self.sandbox.metadata.namespace.clone());
        Shared::blocking(move || {
            used.iter().try_for_each(|(name, image)| {
                let allowed = pull::may_use(&images, &places, &namespace, name, image);
                allowed.map_err(|e| EngineError::failed(format!("use the image {name:?}"), e))
            })
        })
        .await
    }
}
