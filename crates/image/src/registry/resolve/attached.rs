//! What is attached to an image, beside it in its repository.

use berth_types::Digest;
use bytes::Bytes;

use super::{Source, Wanted};
use crate::registry::manifest::{ACCEPT, OCI_MANIFEST};
use crate::registry::{HostError, MAX_MANIFEST, RegistryError, Tried};

impl Source {
    /// The manifest that a tag of the repository names, as it came; None when the last host that was asked has none.
    pub(crate) async fn tagged(&self, tag: &str) -> Result<Option<Bytes>, RegistryError> {
        let wanted = Wanted {
            what: "manifest of signatures",
            path: format!("manifests/{tag}"),
            accept: Some(ACCEPT),
            limit: MAX_MANIFEST,
            digest: None,
            size: None,
            check: |received| match received.headers.get(http::header::CONTENT_TYPE) {
                Some(kind) if kind == OCI_MANIFEST => Ok(()),
                other => Err(format!("its type is {other:?}, not {OCI_MANIFEST}")),
            },
        };
        match self.small(&wanted).await {
            Ok(received) => match (wanted.check)(&received) {
                Ok(()) => Ok(Some(received.bytes)),
                Err(problem) => Err(self.unusable(problem)),
            },
            Err(RegistryError::AllHosts { tried, .. }) if is_missing(&tried) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A blob of the repository, whole and checked.
    pub(crate) async fn small_blob(
        &self,
        digest: &Digest,
        size: u64,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        let wanted = Wanted {
            what: "signed payload",
            path: format!("blobs/{digest}"),
            accept: None,
            limit,
            digest: Some(digest),
            size: Some(size),
            check: |_| Ok(()),
        };
        Ok(self.small(&wanted).await?.bytes)
    }
}

fn is_missing(tried: &[Tried]) -> bool {
    matches!(tried.last(), Some(Tried { error: HostError::NotFound { .. }, .. }))
}
