//! Carries out what was decided, by the controller of pods.

use berth_engine::now;
use serde_json::Value;
use tokio::sync::mpsc;

use super::super::model::Action;
use super::super::{Key, Workloads, names};
use super::{AT_ONCE, Came, Making, Task, WorkloadError};
use crate::controller::{Options, PodError, Progress, Then};
use crate::manifest::{
    Pod, Spec, Workload, WorkloadKind, document_of, job_document, resume, resume_workload,
};

/// A minute, in nanoseconds: jobs of a CronJob are named by the minute.
const MINUTE: i64 = 60 * SECOND;
const SECOND: i64 = 1_000_000_000;

impl Task {
    /// Begins what was decided. True when nothing was begun, since it is too early to try again.
    pub(super) fn act(&mut self, actions: Vec<Action>) -> bool {
        let early = self.retry_at.is_some_and(|at| at > now());
        let mut begun = false;
        for action in actions {
            match action {
                action if early && waits(&action) => {}
                Action::Create(index) => begun |= self.create(index),
                Action::Begin(at) => begun |= self.begin_job(at),
                Action::Remove(name) => begun |= self.remove(name),
                Action::RemoveJob(name) => begun |= self.remove_job(name),
                Action::RemoveSelf => {}
            }
        }
        !begun
    }

    fn create(&mut self, index: Option<u32>) -> bool {
        if self.making.len() >= AT_ONCE {
            return false;
        }
        let own = names::own(&self.workload, &self.record.uid, &self.revision, index, &names::random());
        let name = own.name.clone();
        let document = document_of(&self.workload.pod, &own);
        let pod = match resume(&document.to_string(), &self.workload.objects().source()) {
            Ok(pod) => pod,
            Err(e) => {
                let message = format!("its template makes no pod: {}", berth_types::error::chain(&e));
                self.failed(&PodError::Said { message, kind: berth_types::Kind::Internal, hint: None });
                return false;
            }
        };
        let making = Making { revision: self.revision.clone(), index, at: now() };
        self.making.insert(name.clone(), making);
        let (workloads, options) = (self.workloads.clone(), self.options.clone());
        let progress = self.progress();
        self.work.spawn(async move {
            let result = workloads.inner.pods.play(pod, options, progress).await.map(drop);
            Came::Made { name, result }
        });
        true
    }

    /// Where those who wait are told of it.
    fn progress(&self) -> mpsc::Sender<Progress> {
        // Nobody reads the other one, and sending to it does not wait.
        self.waiting.last().map_or_else(|| mpsc::channel(1).0, |waiting| waiting.progress.clone())
    }

    fn remove(&mut self, name: String) -> bool {
        let view = self.views().into_iter().find(|view| view.config.metadata.name == name);
        // One without a sandbox is removed when it has one.
        let Some(view) = view.filter(|_| !self.leaving.contains(&name)) else { return false };
        self.leaving.insert(name.clone());
        let (pods, engine, grace) =
            (self.workloads.inner.pods.clone(), self.workloads.inner.engine.clone(), self.grace);
        self.work.spawn(async move {
            let result = match pods.down(&view, grace, Then::Goes).await {
                // No task has it, since its manifest is unreadable.
                Err(PodError::NotFound(_)) => {
                    drop(engine.stop_sandbox(&view.id).await);
                    let removed = engine.remove_sandbox(&view.id).await;
                    crate::controller::there(removed).map_err(PodError::engine("remove the pod"))
                }
                result => result,
            };
            Came::Removed { name, result }
        });
        true
    }

    fn begin_job(&mut self, due: i64) -> bool {
        // By the minute, as in Kubernetes; `@every` may be due more often.
        let unit = if due % MINUTE == 0 { MINUTE } else { SECOND };
        let name = format!("{}-{}", self.workload.name, due / unit);
        if self.making.contains_key(&name) {
            return false;
        }
        let job = match job_of(&self.workload, &name) {
            Ok(job) => job,
            Err(e) => {
                let message = format!("its template makes no job: {e}");
                self.failed(&PodError::Said { message, kind: berth_types::Kind::Internal, hint: None });
                return false;
            }
        };
        self.making.insert(name.clone(), Making { revision: String::new(), index: None, at: now() });
        self.status.last = Some(due);
        let (workloads, owner) = (self.workloads.clone(), self.record.uid.clone());
        let options = Options { pull: None, ..self.options.clone() };
        let (dir, status) = (self.workloads.inner.dir.clone(), self.status.clone());
        let uid = owner.clone();
        self.work.spawn(async move {
            // Not made twice for one time, and rather not at all than twice.
            let saved = tokio::task::spawn_blocking({
                let (dir, uid) = (dir.clone(), uid.clone());
                move || super::keep::save_status(&dir, &uid, &status)
            });
            let saved = saved.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
            let result = match saved {
                Ok(()) => make_job(workloads, job, owner, options).await,
                Err(source) => {
                    Err(WorkloadError::Keep { workload: name.clone(), path: dir.join(uid), source })
                }
            };
            Came::Job { name, result }
        });
        true
    }

    fn remove_job(&mut self, name: String) -> bool {
        if !self.leaving.insert(name.clone()) {
            return false;
        }
        let workloads = self.workloads.clone();
        let grace = self.grace;
        let key = Key { kind: WorkloadKind::Job, namespace: self.key.namespace.clone(), name: name.clone() };
        self.work.spawn(async move {
            let result = match down_boxed(workloads, key, grace).await {
                Err(WorkloadError::NotFound(_)) => Ok(()),
                result => result,
            };
            Came::Job { name, result }
        });
        true
    }

    /// Takes what came of something.
    pub(super) fn came(&mut self, came: Came) {
        match came {
            Came::Made { name, result } => {
                self.making.remove(&name);
                match result {
                    Ok(()) => {
                        (self.failures, self.retry_at) = (0, None);
                        self.message.clear();
                    }
                    // It stays, and is counted as one that failed.
                    Err(PodError::Init { .. } | PodError::Deadline(_)) => {}
                    Err(_) if self.record.removing => {}
                    Err(error) => self.failed(&error),
                }
            }
            Came::Removed { name, result } => {
                self.leaving.remove(&name);
                if let Err(error) = result {
                    self.not_removed(&error);
                }
            }
            Came::Job { name, result } => {
                self.making.remove(&name);
                let removal = self.leaving.remove(&name);
                // One that exists was made for this time before the daemon was killed.
                if let Err(error) = result
                    && !matches!(error, WorkloadError::Exists(_))
                {
                    self.message = berth_types::error::chain(&error);
                    tracing::warn!(
                        workload = self.key.title(),
                        error = self.message,
                        "a job could not be made or removed"
                    );
                    if removal {
                        self.again_later();
                        let title = self.key.title();
                        let fault = || WorkloadError::said(title.clone(), &error);
                        self.answer_downs(fault);
                    }
                }
            }
        }
    }
}

/// Whether it is not begun before the time to try again: all that can fail.
fn waits(action: &Action) -> bool {
    match action {
        Action::Create(_) | Action::Begin(_) | Action::Remove(_) | Action::RemoveJob(_) => true,
        Action::RemoveSelf => false,
    }
}

/// Boxed: a job's task is of the same type as its CronJob's.
async fn down_boxed(workloads: Workloads, key: Key, grace: Option<u64>) -> Result<(), WorkloadError> {
    let down: std::pin::Pin<Box<dyn Future<Output = _> + Send>> =
        Box::pin(async move { workloads.down(&key, grace).await });
    down.await
}

async fn make_job(
    workloads: Workloads,
    job: Workload,
    owner: String,
    options: Options,
) -> Result<(), WorkloadError> {
    let (progress, _) = mpsc::channel(1);
    let make: std::pin::Pin<Box<dyn Future<Output = _> + Send>> =
        Box::pin(async move { workloads.keep_job(job, owner, options, progress).await });
    make.await
}

/// The job of a CronJob.
fn job_of(cron: &Workload, name: &str) -> Result<Workload, String> {
    let document: Value = serde_json::from_str(&cron.source).map_err(|e| e.to_string())?;
    debug_assert!(matches!(cron.spec, Spec::Cron(_)));
    let job = job_document(&document, name, &cron.namespace);
    let Pod { objects, .. } = &cron.pod;
    resume_workload(&job.to_string(), &objects.source()).map_err(|e| berth_types::error::chain(&e))
}

#[cfg(test)]
mod tests;
