//! Where images come from. Pulls as they are counted and told: how they ended, how long they took, and each layer as a step of its call.

use std::sync::Arc;
use std::time::Instant;

use berth_image::pull::{LayerState, Progress, PullError, PullProgress, PullRequest};
use berth_image::trust::Policy;
use berth_image::{ArchiveError, Image, LoadProgress};
use berth_types::{Classify, Digest, Kind};

use crate::about::{About, Call};
use crate::engine::Engine;
use crate::seams::Observe;

#[cfg(test)]
mod tests;

impl Engine {
    /// Pulls an image. The work goes on when the caller does not wait.
    ///
    /// # Errors
    /// Those of the registry and of the store.
    pub async fn pull(&self, request: PullRequest, progress: Progress) -> Result<Arc<Image>, PullError> {
        let counted = self.shared.observe.as_deref().map(Counted::of);
        let told = About::now().call().filter(|call| call.is_told()).cloned();
        let work = self.puller.pull(request, progress.clone());
        let pulled = match told {
            Some(call) => watched(work, progress, call).await,
            None => {
                drop(progress);
                work.await
            }
        };
        if let Some(counted) = counted {
            counted.ended(pulled.as_ref().err().map(Classify::kind));
        }
        // What a pull took for its buffers is not needed until the next one.
        tokio::task::spawn_blocking(berth_sys::memory::give_back);
        pulled
    }

    /// Adds the images of an archive, if the machine's policy lets it in.
    ///
    /// # Errors
    /// Those of the archive, of the policy and of the store.
    pub async fn load(
        &self,
        archive: std::fs::File,
        progress: impl FnMut(LoadProgress) + Send,
    ) -> Result<Vec<Arc<Image>>, ArchiveError> {
        let trust = self.puller.registry().places().trust.clone();
        let policy = trust.map(|trust| Policy::of(&trust, None)).transpose()?;
        self.images().load_by(policy.flatten(), archive, progress).await
    }

    /// Bytes of layers that were fetched, as they are sent.
    pub fn fetched_bytes(&self) -> u64 {
        self.puller.fetched_bytes()
    }
}

/// A pull until it has ended, or nobody waits for it any more.
struct Counted<'a> {
    observe: &'a dyn Observe,
    began: Instant,
    is_over: bool,
}

impl<'a> Counted<'a> {
    fn of(observe: &'a dyn Observe) -> Self {
        Self { observe, began: Instant::now(), is_over: false }
    }

    fn ended(mut self, failed: Option<Kind>) {
        self.is_over = true;
        self.observe.pulled(failed, self.began.elapsed());
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.observe.pulled(Some(Kind::Cancelled), self.began.elapsed());
        }
    }
}

/// The work, with a step until the manifest is known, one for each layer, and one until the image is there.
async fn watched<T>(work: impl Future<Output = T>, progress: Progress, call: Call) -> T {
    let mut states = progress.watch();
    // Its end is the pull's.
    drop(progress);
    let mut steps = Steps::begin(Instant::now());
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            changed = states.changed() => match changed {
                Ok(()) => steps.see(&states.borrow_and_update(), Instant::now()),
                Err(_) => break work.await,
            },
        }
    };
    for (name, since, until) in steps.end(Instant::now()) {
        call.step(None, &name, (since, until));
    }
    done
}

/// What is seen of a pull.
#[derive(Debug)]
struct Steps {
    since: Instant,
    layers: Vec<(Digest, Option<Instant>)>,
    ended: Vec<(String, Instant, Instant)>,
}

impl Steps {
    fn begin(since: Instant) -> Self {
        Self { since, layers: Vec::new(), ended: Vec::new() }
    }

    fn see(&mut self, progress: &PullProgress, now: Instant) {
        if progress.manifest.is_none() {
            return;
        }
        if self.ended.is_empty() {
            self.ended.push(("resolve".to_owned(), self.since, now));
            self.since = now;
            self.layers = progress.layers.iter().map(|layer| (layer.digest.clone(), None)).collect();
        }
        for ((digest, begun), layer) in self.layers.iter_mut().zip(&progress.layers) {
            match (layer.state, *begun) {
                (LayerState::Downloading | LayerState::Unpacking, None) => *begun = Some(now),
                (LayerState::Done, Some(since)) => {
                    *begun = None;
                    self.ended.push((format!("layer {}", digest.short()), since, now));
                    self.since = now;
                }
                _ => {}
            }
        }
    }

    fn end(mut self, now: Instant) -> Vec<(String, Instant, Instant)> {
        let unfinished = self.layers.iter().filter_map(|(digest, begun)| Some((digest, (*begun)?)));
        let unfinished: Vec<_> =
            unfinished.map(|(digest, since)| (format!("layer {}", digest.short()), since, now)).collect();
        if unfinished.is_empty() && now > self.since {
            let last = if self.ended.is_empty() { "resolve" } else { "commit" };
            self.ended.push((last.to_owned(), self.since, now));
        }
        self.ended.extend(unfinished);
        self.ended
    }
}
