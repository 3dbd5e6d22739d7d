//! A client of the CRI, as a kubelet is one: for tests and measurements.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};

use api::image_service_client::ImageServiceClient;
use api::runtime_service_client::RuntimeServiceClient;

use crate::{Error, Result};

/// The messages and client stubs, generated from the pinned `api.proto`.
pub mod api {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        rustdoc::all,
        reason = "generated"
    )]
    tonic::include_proto!("runtime.v1");
}

/// The longest a single call may take.
pub const CALL_LIMIT: Duration = Duration::from_secs(120);

/// The largest answer that is read: lists of many pods are long.
const MESSAGE_LIMIT: usize = 64 << 20;

/// Both services over one connection. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    /// The runtime service.
    pub runtime: RuntimeServiceClient<Channel>,
    /// The image service.
    pub images: ImageServiceClient<Channel>,
}

impl Client {
    /// Connects to a socket given as path or as `unix://PATH`.
    pub async fn connect(endpoint: &str) -> Result<Self> {
        let path = PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
        Self::connect_path(&path).await
    }

    async fn connect_path(path: &Path) -> Result<Self> {
        let about = format!("connect to {}", path.display());
        let path = path.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost")
            .timeout(CALL_LIMIT)
            .connect_with_connector(connector)
            .await
            .map_err(|e| Error::Io { what: about, source: std::io::Error::other(e) })?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT),
        })
    }

    /// Pulls an image unless it is there.
    pub async fn ensure_image(&mut self, image: &str) -> Result<(), tonic::Status> {
        let image = Some(api::ImageSpec { image: image.to_owned(), ..Default::default() });
        let request = api::ImageStatusRequest { image: image.clone(), verbose: false };
        if self.images.image_status(request).await?.into_inner().image.is_none() {
            self.images.pull_image(api::PullImageRequest { image, ..Default::default() }).await?;
        }
        Ok(())
    }
}
