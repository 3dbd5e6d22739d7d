//! The images of a pod: pulled before anything else of it is made.

use berth_engine::Engine;
use berth_engine::image::credentials::{Keyring, RequestAuth};
use berth_engine::image::pull::{Progress as Sink, PullProgress, PullRequest};
use tokio::sync::mpsc;

use super::{Options, PodError, Progress};
use crate::manifest::PullPolicy;
use crate::plan::{Plan, Planned};

/// When images are pulled, whatever the manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullChoice {
    /// Even when it is present.
    Always,
    /// When it is missing.
    Missing,
    /// Never.
    Never,
}

/// How far the pull of an image is.
#[derive(Debug, Clone)]
pub struct Pull {
    /// The image as the manifest has it.
    pub image: String,
    /// Its layers.
    pub progress: PullProgress,
    /// Its id, when it is complete.
    pub id: Option<String>,
}

/// Pulls every image of the plan, one after another.
pub(super) async fn images(
    engine: &Engine,
    plan: &Plan,
    options: &Options,
    watch: &mpsc::Sender<Progress>,
) -> Result<(), PodError> {
    let mut done: Vec<&str> = Vec::new();
    for planned in plan.init.iter().chain(&plan.main) {
        let image = planned.config.image.image.as_str();
        if !done.contains(&image) {
            one(engine, planned, options, watch).await?;
            done.push(image);
        }
    }
    Ok(())
}

async fn one(
    engine: &Engine,
    planned: &Planned,
    options: &Options,
    watch: &mpsc::Sender<Progress>,
) -> Result<(), PodError> {
    let image = &planned.config.image.image;
    let here = engine.images().find(image).map_err(PodError::image(image))?;
    let policy = match options.pull {
        Some(PullChoice::Always) => PullPolicy::Always,
        Some(PullChoice::Missing) => PullPolicy::IfNotPresent,
        Some(PullChoice::Never) => PullPolicy::Never,
        None => planned.pull,
    };
    // An image that Berth carries in itself is in no registry.
    let carried = engine.config().images.builtin.iter().any(|builtin| builtin.name == image);
    match (policy, here) {
        (PullPolicy::IfNotPresent | PullPolicy::Never, Some(_)) => Ok(()),
        (PullPolicy::Always, Some(_)) if carried => Ok(()),
        (PullPolicy::Never, None) => Err(PodError::NoImage { image: image.clone() }),
        (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, None) => {
            pull(engine, image, options.auths.get(image).cloned(), watch).await
        }
    }
}

async fn pull(
    engine: &Engine,
    image: &str,
    auth: Option<RequestAuth>,
    watch: &mpsc::Sender<Progress>,
) -> Result<(), PodError> {
    let (sink, mut steps) = Sink::channel();
    let keyring = Keyring { request: auth, files: None };
    let request = PullRequest { reference: image.to_owned(), keyring, platform: None, artifact: false };
    let tell = |progress: PullProgress, id: Option<String>| {
        // A watcher that is slow or has ended misses steps.
        drop(watch.try_send(Progress::Pull(Pull { image: image.to_owned(), progress, id })));
    };
    let mut work = std::pin::pin!(engine.pull(request, sink));
    let pulled = loop {
        tokio::select! {
            pulled = &mut work => break pulled,
            Ok(()) = steps.changed() => tell(steps.borrow_and_update().clone(), None),
        }
    };
    let pulled = pulled.map_err(PodError::image(image))?;
    tell(steps.borrow().clone(), Some(pulled.id.to_string()));
    Ok(())
}
