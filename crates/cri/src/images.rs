//! The image service.

use std::pin::Pin;

use berth_engine::Engine;
use berth_engine::image::pull::Progress;
use berth_engine::model::Owner;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::api::{self, image_service_server::ImageService};
use crate::convert::image as convert;
use crate::error::{pull_status, status};
use crate::rows::Chunks;
use crate::runtime::answer;

/// The image service of an engine.
#[derive(Debug, Clone)]
pub struct Images {
    engine: Engine,
}

impl Images {
    /// The service for `engine`.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ImageService for Images {
    type StreamImagesStream = Pin<Box<dyn Stream<Item = Result<api::StreamImagesResponse, Status>> + Send>>;

    async fn list_images(&self, request: Request<api::ListImagesRequest>) -> Answer<api::ListImagesResponse> {
        answer("list_images", list(&self.engine, request.into_inner())).await
    }

    async fn stream_images(
        &self,
        request: Request<api::StreamImagesRequest>,
    ) -> Answer<Self::StreamImagesStream> {
        answer("stream_images", async {
            let parts = Chunks::of(rows(&self.engine, request.into_inner().filter)?);
            let parts = parts.map(|images| Ok(api::StreamImagesResponse { images }));
            Ok(Box::pin(tokio_stream::iter(parts)) as Self::StreamImagesStream)
        })
        .await
    }

    async fn image_status(
        &self,
        request: Request<api::ImageStatusRequest>,
    ) -> Answer<api::ImageStatusResponse> {
        answer("image_status", image_status(&self.engine, request.into_inner())).await
    }

    async fn pull_image(&self, request: Request<api::PullImageRequest>) -> Answer<api::PullImageResponse> {
        answer("pull_image", pull(&self.engine, request.into_inner())).await
    }

    async fn remove_image(
        &self,
        request: Request<api::RemoveImageRequest>,
    ) -> Answer<api::RemoveImageResponse> {
        answer("remove_image", remove(&self.engine, request.into_inner())).await
    }

    async fn image_fs_info(&self, _: Request<api::ImageFsInfoRequest>) -> Answer<api::ImageFsInfoResponse> {
        answer("image_fs_info", fs_info(&self.engine)).await
    }
}

async fn list(engine: &Engine, request: api::ListImagesRequest) -> Result<api::ListImagesResponse, Status> {
    Ok(api::ListImagesResponse { images: rows(engine, request.filter)?.collect() })
}

/// The image without the name of a handler that there is.
fn for_all(engine: &Engine, mut image: Option<api::ImageSpec>) -> Option<api::ImageSpec> {
    image.iter_mut().for_each(|image| convert::for_all(image, |name| engine.knows_handler(name)));
    image
}

fn rows(
    engine: &Engine,
    filter: Option<api::ImageFilter>,
) -> Result<impl Iterator<Item = api::Image> + Send + use<>, Status> {
    let pinned = engine.images_in_use(Some(Owner::Local));
    let filter = filter.map(|filter| api::ImageFilter { image: for_all(engine, filter.image) });
    let images = match convert::filter(filter)? {
        Some(name) => engine.images().find(&name).map_err(|e| status(&e))?.into_iter().collect(),
        None => engine.images().list(),
    };
    Ok(images.into_iter().map(move |image| convert::to_api(&image, &pinned)))
}

/// ImageStatus: an empty answer for an unknown image.
async fn image_status(
    engine: &Engine,
    request: api::ImageStatusRequest,
) -> Result<api::ImageStatusResponse, Status> {
    let name = convert::named(for_all(engine, request.image))?;
    let Some(image) = engine.images().find(&name).map_err(|e| status(&e))? else {
        return Ok(api::ImageStatusResponse::default());
    };
    let mut answer = api::ImageStatusResponse {
        image: Some(convert::to_api(&image, &engine.images_in_use(Some(Owner::Local)))),
        ..Default::default()
    };
    if request.verbose {
        let config = &image.config;
        let info = serde_json::json!({
            "manifest": image.manifest.as_str(),
            "imageSpec": {
                "architecture": config.architecture, "os": config.os, "created": config.created,
                "config": {
                    "User": config.user, "Env": config.env, "Entrypoint": config.entrypoint, "Cmd": config.cmd,
                    "WorkingDir": config.working_dir, "Labels": config.labels, "StopSignal": config.stop_signal,
                },
                "rootfs": { "type": "layers", "diff_ids": config.diff_ids.iter().map(|d| d.as_str()).collect::<Vec<_>>() },
            },
        });
        answer.info.insert("info".to_owned(), info.to_string());
    }
    Ok(answer)
}

async fn pull(engine: &Engine, request: api::PullImageRequest) -> Result<api::PullImageResponse, Status> {
    let request = api::PullImageRequest { image: for_all(engine, request.image), ..request };
    let request = convert::pull(request)?;
    let image = engine.pull(request, Progress::none()).await.map_err(|e| pull_status(&e))?;
    Ok(api::PullImageResponse { image_ref: image.id.to_string() })
}

/// RemoveImage: any of its names removes the whole image; succeeds for an unknown one.
async fn remove(
    engine: &Engine,
    request: api::RemoveImageRequest,
) -> Result<api::RemoveImageResponse, Status> {
    let name = convert::named(for_all(engine, request.image))?;
    engine.images().remove(&name).await.map_err(|e| status(&e))?;
    Ok(api::RemoveImageResponse {})
}

async fn fs_info(engine: &Engine) -> Result<api::ImageFsInfoResponse, Status> {
    let usage = engine.images().usage();
    let filesystem = api::FilesystemUsage {
        timestamp: berth_engine::now(),
        fs_id: Some(api::FilesystemIdentifier { mountpoint: engine.images().dir().display().to_string() }),
        used_bytes: Some(api::UInt64Value { value: usage.bytes }),
        inodes_used: Some(api::UInt64Value { value: usage.inodes }),
    };
    Ok(api::ImageFsInfoResponse {
        image_filesystems: vec![filesystem.clone()],
        container_filesystems: vec![filesystem],
    })
}
