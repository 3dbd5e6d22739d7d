//! Workloads: what makes and removes pods of a template, so that there are as many as wanted.
//!
//! ```text
//! play -> kept on disk -> [ look at its pods -> decide (pure) -> make and remove pods by their controller ] ...
//!                             woken by events, by the clock, by requests
//! ```
//!
//! One task for each workload. It knows its pods by an annotation with its uid, and keeps on disk what its pods cannot tell: what
//! was asked for, and what came of those that are gone. A new daemon goes on with every workload that it finds there, also after a
//! reboot, which no pod survives ([ADR 0098](../../../docs/adr/0098-workloads.md)).

mod cron;
mod error;
mod job;
mod keep;
mod model;
mod names;
mod observe;
mod ordered;
pub mod schedule;
mod sets;
mod shown;
mod task;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_engine::model::SandboxView;
use berth_engine::{Engine, now};
use berth_types::error::chain;
use tokio::sync::{mpsc, oneshot, watch};

pub use error::WorkloadError;
pub use shown::Shown;

use crate::controller::{Options, Pods, Progress};
use crate::manifest::{Immutable, Named, Spec, Workload, WorkloadKind, resume_workload};
use keep::Record;
use model::Status;
use task::{Command, Task};

/// The most workloads, with the jobs of CronJobs.
pub const MAX_WORKLOADS: usize = 200;

/// A workload's kind, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What it is.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// That of a workload of a manifest.
    pub fn of(workload: &Workload) -> Self {
        let Workload { kind, namespace, name, .. } = workload;
        Self { kind: *kind, namespace: namespace.clone(), name: name.clone() }
    }

    /// That of an object of a manifest, if it is a workload.
    pub fn named(object: &Named) -> Option<Self> {
        let kind = WorkloadKind::named(&object.kind)?;
        Some(Self { kind, namespace: object.namespace.clone(), name: object.name.clone() })
    }

    /// `Deployment web`, as messages name it.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind.word(), self.name)
    }
}

/// What became of a workload that was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is new.
    Made,
    /// It wants something else now.
    Changed,
    /// It wanted that already.
    Same,
}

/// The workloads of an engine. A clone is the same workloads.
#[derive(Debug, Clone)]
pub struct Workloads {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    pods: Pods,
    /// `<root>/workloads`: one directory per workload, named by its uid.
    dir: PathBuf,
    tasks: Mutex<BTreeMap<Key, Entry>>,
    /// Told when a job has ended or a workload was removed: a CronJob looks at its jobs.
    changed: watch::Sender<u64>,
}

/// A workload that there is.
#[derive(Debug, Clone)]
struct Entry {
    uid: String,
    owner: Option<String>,
    workload: Arc<Workload>,
    shown: Shown,
    commands: mpsc::Sender<Command>,
}

impl Workloads {
    /// The workloads of `engine`, whose directory is `dir`. Those that it finds go on.
    pub fn open(engine: Engine, pods: Pods, dir: PathBuf) -> Self {
        let changed = watch::Sender::new(0);
        let inner = Inner { engine, pods, dir, tasks: Mutex::default(), changed };
        let workloads = Self { inner: Arc::new(inner) };
        let (found, faults) = keep::all(&workloads.inner.dir);
        for fault in faults {
            tracing::warn!(
                fault,
                "a workload's record is unreadable: its pods keep running, but are not replaced"
            );
        }
        // All of them are there before the first one looks: a CronJob counts its jobs.
        let adopted: Vec<_> =
            found.into_iter().filter_map(|(record, status)| workloads.adopt(record, status)).collect();
        for (task, commands) in adopted {
            tokio::spawn(task.run(commands));
        }
        workloads
    }

    fn adopt(&self, record: Record, status: Status) -> Option<(Task, mpsc::Receiver<Command>)> {
        match resume_workload(&record.document, &record.objects) {
            Ok(workload) => {
                let (key, uid) = (Key::of(&workload), record.uid.clone());
                match self.insert(workload, record, status, Options::default()) {
                    Ok((_, task, commands)) => return Some((task, commands)),
                    Err(e) => {
                        tracing::warn!(workload = key.title(), uid, error = %chain(&e), "failed to go on with a workload");
                    }
                }
            }
            Err(e) => {
                tracing::warn!(uid = record.uid, error = %chain(&e), "a workload's manifest is unreadable: its pods keep running, but are not replaced");
            }
        }
        None
    }

    /// Checks workloads before anything of them is made, and names all that is wrong with them. With `replace` those that
    /// there are make way.
    pub fn check(&self, workloads: &[Workload], replace: bool) -> Result<(), WorkloadError> {
        let mut faults = Vec::new();
        for workload in workloads {
            if let Err(fault) = self.inner.pods.check(std::slice::from_ref(&workload.pod)) {
                let (title, template) = (workload.title(), workload.template());
                faults.push(WorkloadError::Template { workload: title, template, fault });
            }
            let there = self.lock().get(&Key::of(workload)).map(|entry| entry.workload.clone());
            if let Some(fixed) = there.filter(|_| !replace).and_then(|there| immutable(&there, workload)) {
                faults.push(fixed.into());
            }
        }
        WorkloadError::of(faults).map_or(Ok(()), Err)
    }

    /// Makes a workload, or changes the one of this name. Answers when its pods have started, or wait for others; nothing of a new
    /// one is left where a pod of it cannot be made.
    pub async fn apply(
        &self,
        workload: Workload,
        options: Options,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Applied, WorkloadError> {
        let key = Key::of(&workload);
        let there = self.lock().get(&key).cloned();
        let (applied, commands) = match there {
            Some(there) => {
                if let Some(fixed) = immutable(&there.workload, &workload) {
                    return Err(fixed.into());
                }
                let same = there.workload.source == workload.source
                    && there.workload.objects() == workload.objects();
                (if same { Applied::Same } else { Applied::Changed }, there.commands)
            }
            None => {
                let record = Record::new(crate::controller::fresh_uid(), now(), None);
                (Applied::Made, self.begin(workload.clone(), record, Status::default(), options.clone())?)
            }
        };
        let (done, answer) = oneshot::channel();
        let new = applied == Applied::Made;
        let command = Command::Apply { workload: Box::new(workload), options, progress, done, new };
        let gone = || WorkloadError::Down(key.title());
        commands.send(command).await.map_err(|_| gone())?;
        let result = answer.await.unwrap_or_else(|_| Err(gone()));
        if result.is_err() && new {
            drop(self.down(&key, Some(0)).await);
        }
        result.map(|()| applied)
    }

    /// Makes the job of a CronJob with this uid, and does not wait for its pods.
    async fn keep_job(
        &self,
        job: Workload,
        owner: String,
        options: Options,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), WorkloadError> {
        let key = Key::of(&job);
        let record = Record::new(crate::controller::fresh_uid(), now(), Some(owner));
        let commands = self.begin(job.clone(), record, Status::default(), options.clone())?;
        let (done, _) = oneshot::channel();
        let command = Command::Apply { workload: Box::new(job), options, progress, done, new: true };
        commands.send(command).await.map_err(|_| WorkloadError::Down(key.title()))
    }

    /// Removes a workload with all its pods.
    pub async fn down(&self, key: &Key, grace: Option<u64>) -> Result<(), WorkloadError> {
        let commands = self.lock().get(key).map(|entry| entry.commands.clone());
        let commands = commands.ok_or_else(|| WorkloadError::NotFound(key.title()))?;
        let (done, answer) = oneshot::channel();
        if commands.send(Command::Down { grace, done }).await.is_err() {
            // It removed itself meanwhile.
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }

    /// All of them, by kind and name.
    pub fn list(&self) -> Vec<Shown> {
        self.lock().values().map(|entry| entry.shown.clone()).collect()
    }

    /// Whether there is one.
    pub fn has(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    /// What `NAME`, `KIND/NAME` or `NAMESPACE/NAME` means.
    pub fn named(&self, text: &str) -> Vec<Key> {
        let is = |key: &&Key| match text.split_once('/') {
            None => key.name == text,
            Some((kind, name)) => {
                key.name == name && (key.kind.word().eq_ignore_ascii_case(kind) || key.namespace == kind)
            }
        };
        self.lock().keys().filter(is).cloned().collect()
    }

    /// The workload that makes and removes this pod; nothing where no such one is there, whatever the pod says.
    pub fn of(&self, pod: &SandboxView) -> Option<Key> {
        let uid = pod.config.annotations.get(names::OWNER)?;
        self.lock().iter().find(|(_, entry)| entry.uid == *uid).map(|(key, _)| key.clone())
    }

    /// The jobs of a CronJob.
    fn jobs_of(&self, owner: &str) -> Vec<(Key, Shown)> {
        let tasks = self.lock();
        let mine = tasks.iter().filter(|(_, entry)| entry.owner.as_deref() == Some(owner));
        mine.map(|(key, entry)| (key.clone(), entry.shown.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task of a workload.
    fn begin(
        &self,
        workload: Workload,
        record: Record,
        status: Status,
        options: Options,
    ) -> Result<mpsc::Sender<Command>, WorkloadError> {
        let (commands, task, receiver) = self.insert(workload, record, status, options)?;
        tokio::spawn(task.run(receiver));
        Ok(commands)
    }

    /// Takes a workload among those that there are; its task is not started yet.
    fn insert(
        &self,
        workload: Workload,
        record: Record,
        status: Status,
        options: Options,
    ) -> Result<(mpsc::Sender<Command>, Task, mpsc::Receiver<Command>), WorkloadError> {
        let key = Key::of(&workload);
        let mut tasks = self.lock();
        if tasks.contains_key(&key) {
            return Err(WorkloadError::Exists(key.title()));
        }
        if tasks.len() >= MAX_WORKLOADS {
            return Err(WorkloadError::TooMany);
        }
        let (commands, receiver) = mpsc::channel(16);
        let shown = Shown::new(&key, &record, &status);
        let entry = Entry {
            uid: record.uid.clone(),
            owner: record.owner.clone(),
            workload: Arc::new(workload.clone()),
            shown,
            commands: commands.clone(),
        };
        tasks.insert(key.clone(), entry);
        let task = Task::new(self.clone(), key, workload, record, status, options);
        Ok((commands, task, receiver))
    }

    /// Publishes what a task knows of its workload.
    fn publish(&self, key: &Key, workload: &Workload, shown: Shown) {
        let mut ended = false;
        if let Some(entry) = self.lock().get_mut(key) {
            ended = entry.shown.complete != shown.complete;
            entry.shown = shown;
            if entry.workload.source != workload.source || entry.workload.objects() != workload.objects() {
                entry.workload = Arc::new(workload.clone());
            }
        }
        if ended {
            self.inner.changed.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    fn forget(&self, key: &Key, uid: &str) {
        let mut tasks = self.lock();
        if tasks.get(key).is_some_and(|entry| entry.uid == uid) {
            tasks.remove(key);
        }
        drop(tasks);
        self.inner.changed.send_modify(|n| *n = n.wrapping_add(1));
    }
}

/// What a workload of a manifest would change of one that there is, and must not.
fn immutable(there: &Workload, wanted: &Workload) -> Option<Immutable> {
    let fixed = |path| Some(Immutable { workload: wanted.title(), path });
    let selector = |of: &Workload| {
        let document: serde_json::Value = serde_json::from_str(&of.source).unwrap_or_default();
        document["spec"]["selector"].clone()
    };
    match (&there.spec, &wanted.spec) {
        (Spec::Set(_) | Spec::Ordered(_), _) if selector(there) != selector(wanted) => fixed("spec.selector"),
        (Spec::Job(_), _) if names::revision(there) != names::revision(wanted) => fixed("spec.template"),
        (Spec::Job(old), Spec::Job(new)) if old.completions != new.completions => fixed("spec.completions"),
        (Spec::Job(old), Spec::Job(new)) if old.indexed != new.indexed => fixed("spec.completionMode"),
        _ => None,
    }
}
