//! Pods of `berth run` that run anew: what their containers wrote is kept, as docker keeps it. See docs/adr/0105.
//!
//! The old pod is stopped and stays until the new one, which has its name, runs. A container of the new one goes on with the
//! writable layer of the old one's; when it cannot be started, the layer goes back, and the old pod is there as before.

use std::sync::Arc;

use berth_engine::model::{ContainerView, SandboxConfig, SandboxView};
use berth_types::lifecycle::container::Listed;
use tokio::sync::{mpsc, oneshot};

use super::task::Task;
use super::{Key, Options, PodError, Pods, Progress, Then, key};
use crate::plan::{self, Place, Plan, RUN};

/// Annotation: the sandbox that this one goes on with.
const CONTINUES: &str = "berth.dev/continues";

/// The sandbox that this one goes on with, which may be gone.
pub(super) fn before(config: &SandboxConfig) -> Option<&str> {
    config.annotations.get(CONTINUES).map(String::as_str)
}

/// Whether its containers keep what they wrote when they are run again.
pub(super) fn keeps(config: &SandboxConfig) -> bool {
    config.annotations.contains_key(RUN)
}

impl Pods {
    /// Whether a pod is one that [`Pods::again`] is for.
    pub fn keeps_files(&self, view: &SandboxView) -> bool {
        keeps(&view.config)
    }

    /// Stops a pod, and runs it anew with what its containers wrote; answers as [`Pods::play`]. A pod that cannot be run anew is
    /// stopped then, and has all that it had. `hold` names a container that waits for its release.
    ///
    /// # Errors
    /// As those of [`Pods::play`] and [`Pods::down`].
    pub async fn again(
        &self,
        view: &SandboxView,
        grace: Option<u64>,
        hold: Option<String>,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Arc<SandboxView>, PodError> {
        let (pod, options) = self.kept(view)?;
        let options = Options { waits: hold.is_some(), hold, ..options };
        // The files have the owners that they have.
        let place = Place { user: view.config.namespaces.user, ..self.place(&pod) };
        let mut plan = plan::plan(&pod, &place)?;
        options.note_in(&mut plan);
        plan.sandbox.annotations.insert(CONTINUES.to_owned(), view.id.to_string());
        same_images(&mut plan, view);
        let key = key(&plan);
        self.down(view, grace, Then::MakesWay).await?;
        let engine = &self.inner.engine;
        engine.sandbox(view.id.as_str()).map_err(PodError::engine("look up the stopped pod"))?;
        let (name, commands) = (key.name.clone(), self.succeed(&key)?);
        let (started, answer) = oneshot::channel();
        let task = Task::new(self.clone(), key, pod, plan, place, options);
        tokio::spawn(task.play(commands, progress, started));
        answer.await.unwrap_or(Err(PodError::Down(name)))
    }

    /// Takes the name of a pod that has made way.
    fn succeed(&self, key: &Key) -> Result<mpsc::Receiver<super::Command>, PodError> {
        let mut tasks = self.lock();
        if tasks.get(key).is_some_and(|task| !task.is_closed()) {
            return Err(PodError::Exists { name: key.name.clone(), namespace: key.namespace.clone() });
        }
        let (sender, receiver) = mpsc::channel(16);
        tasks.insert(key.clone(), sender);
        Ok(receiver)
    }
}

/// A writable layer fits one image alone, whatever its name has come to mean.
fn same_images(plan: &mut Plan, old: &SandboxView) {
    for planned in plan.init.iter_mut().chain(&mut plan.main) {
        if let Some(old) = newest(&old.containers, planned.name(), u32::MAX) {
            planned.config.image.image.clone_from(&old.image_id);
        }
    }
}

/// The newest container of this name that has ended, of those before this attempt.
pub(super) fn newest<'a>(
    containers: &'a [Arc<ContainerView>],
    name: &str,
    attempt: u32,
) -> Option<&'a Arc<ContainerView>> {
    let ended = |c: &&Arc<ContainerView>| {
        let metadata = &c.config.metadata;
        metadata.name == name && metadata.attempt < attempt && c.state.listed() == Some(Listed::Exited)
    };
    containers.iter().filter(ended).max_by_key(|c| c.config.metadata.attempt)
}
