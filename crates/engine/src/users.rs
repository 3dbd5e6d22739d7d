//! The users of images: their /etc/passwd and /etc/group, read once per image.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use berth_image::{Image, Images};
use berth_types::Digest;

use crate::error::EngineError;
use crate::model::{ContainerSecurity, GroupsPolicy};
use crate::oci::user::{self, Files, Resolved};

/// The largest of these files that is read.
const MAX_FILE: u64 = 1 << 20;
/// Images remembered.
const KEPT: usize = 64;

/// An image's two files; empty where it has none.
#[derive(Debug, Default)]
struct Texts {
    passwd: String,
    group: String,
}

/// The files of the images used last.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<HashMap<Digest, Arc<Texts>>>);

impl Users {
    /// The user of a container's main process.
    pub(crate) async fn resolve(
        &self,
        images: &Images,
        image: &Image,
        security: &ContainerSecurity,
    ) -> Result<Resolved, EngineError> {
        let texts = self.texts(images, &image.id).await?;
        let files = Files { passwd: &texts.passwd, group: &texts.group };
        user::resolve(security, &image.config.user, files)
    }

    /// The user that `text` names in an image.
    pub(crate) async fn named(
        &self,
        images: &Images,
        image: &Digest,
        text: &str,
    ) -> Result<Resolved, EngineError> {
        let texts = self.texts(images, image).await?;
        let files = Files { passwd: &texts.passwd, group: &texts.group };
        user::resolve_text(text, &[], GroupsPolicy::Merge, files)
    }

    async fn texts(&self, images: &Images, image: &Digest) -> Result<Arc<Texts>, EngineError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(image).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let read = async |path: &str| {
            let bytes = images
                .read_file(image, path, MAX_FILE)
                .await
                .map_err(|e| EngineError::failed(format!("read {path} of the image"), e))?;
            Ok::<_, EngineError>(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
        };
        let texts = Arc::new(Texts { passwd: read("/etc/passwd").await?, group: read("/etc/group").await? });
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            // Any of them may be evicted: it is read again when it is needed.
            let any = kept.keys().next().cloned();
            any.map(|any| kept.remove(&any));
        }
        kept.insert(image.clone(), Arc::clone(&texts));
        Ok(texts)
    }
}
