//! The socket: it appears complete and with its mode, replaces a stale file, and is removed with the daemon.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use berth_cri::api::image_service_server::ImageServiceServer;
use berth_cri::api::runtime_service_server::RuntimeServiceServer;
use berth_engine::Engine;
use berth_streaming::Urls;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;
use tonic::service::Routes;

use super::authority::Connection;
use super::metrics::{Counted, Metrics};
use super::traced::{Traced, Tracer};
use crate::api::berth_server::BerthServer;
use crate::service::Service;

/// How long calls in flight may continue after the daemon was asked to shut down.
const GRACE: Duration = Duration::from_secs(2);
/// Calls of one connection at once. A kubelet has only one, and a node that is drained has a StopContainer for each
/// container, which waits for its grace: any other call has to come through beside them.
const CALLS: u32 = 16 << 10;
/// The wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A bound socket and the file it is.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    /// The file's inode.
    pub(super) inode: u64,
}

/// What is answered from.
#[derive(Debug)]
pub(super) struct Services<'a> {
    pub(super) engine: &'a Engine,
    pub(super) urls: Urls,
    pub(super) service: Service,
    /// Counts the calls of the CRI.
    pub(super) metrics: Option<Arc<Metrics>>,
    /// Tells of them.
    pub(super) tracer: Option<Tracer>,
}

/// A directory for root only.
pub(crate) fn private_dir(dir: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("create the directory {}", dir.display()))
}

/// Binds beside the final name and renames over it, so that no client finds a socket that does not
/// answer yet or has a wider mode.
pub(super) fn bind(path: &Path) -> anyhow::Result<Bound> {
    let name = path.file_name().with_context(|| format!("{} has no file name", path.display()))?;
    let parent = path.parent().with_context(|| format!("{} has no directory", path.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("create the directory {}", parent.display()))?;
    let fresh: PathBuf = parent.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let bind = || -> std::io::Result<Bound> {
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
        let inode = fs::metadata(&fresh)?.ino();
        fs::rename(&fresh, path)?;
        Ok(Bound { listener, inode })
    };
    bind().map_err(|e| {
        fs::remove_file(&fresh).ok();
        anyhow::Error::new(e).context(format!("listen on {}", path.display()))
    })
}

/// Removes the socket's file, unless a newer daemon has put its own there since.
pub(super) fn unbind(path: &Path, inode: u64) {
    if fs::metadata(path).is_ok_and(|now| now.ino() != inode) {
        return;
    }
    if let Err(e) = fs::remove_file(path)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), error = %e, "failed to remove the socket");
    }
}

/// Answers until `stop` is done, and a little longer for calls in flight.
///
/// The connections are hyper's, not tonic's: that one ends a call at the client's deadline and calls
/// it cancelled, while a deadline is for the client to report.
pub(super) async fn serve(bound: Bound, services: Services<'_>, stop: impl Future<Output = ()> + Send) {
    let (metrics, tracer) = (services.metrics.clone(), services.tracer.clone());
    let routes = Traced { inner: Counted { inner: routes(services), metrics }, tracer };
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let stream = tokio::select! {
            accepted = bound.listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    // Most likely out of descriptors: others will be closed.
                    tracing::warn!(error = %e, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let handler = TowerToHyperService::new(routes.clone());
        let connection = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(CALLS)
            .serve_connection(TokioIo::new(Connection::new(stream)), handler);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(error = %e, "a connection failed");
            }
        });
    }
    drop(bound);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::info!("aborting calls in flight");
    }
}

fn routes(services: Services<'_>) -> Routes {
    let Services { engine, urls, service, .. } = services;
    let limit = berth_cri::MAX_MESSAGE;
    let runtime = RuntimeServiceServer::new(berth_cri::Runtime::new(engine.clone(), urls));
    let images = ImageServiceServer::new(berth_cri::Images::new(engine.clone()));
    Routes::new(runtime.max_decoding_message_size(limit))
        .add_service(images.max_decoding_message_size(limit))
        .add_service(BerthServer::new(service).max_decoding_message_size(limit))
        .prepare()
}
