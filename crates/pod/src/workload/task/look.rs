//! How a workload's pods are, and what follows.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_engine::model::{ContainerView, Owner, SandboxView};
use berth_engine::now;

use super::super::cron::SeenJob;
use super::super::model::{Decision, Seen, State};
use super::super::{cron, job, names, observe, ordered, sets};
use super::{Shown, Task};
use crate::manifest::{Container, Spec};

impl Task {
    /// The sandboxes of its pods.
    pub(super) fn views(&self) -> Vec<Arc<SandboxView>> {
        let mut views = self.workloads.inner.engine.sandboxes(Some(Owner::Local));
        views.retain(|view| view.config.annotations.get(names::OWNER) == Some(&self.record.uid));
        views
    }

    /// Its pods, also those that have no sandbox yet.
    pub(super) fn look(&mut self) -> Vec<Seen> {
        let now = now();
        let views = self.views();
        let asked = |c: &&Container| c.readiness_probe.is_some() || c.startup_probe.is_some();
        let probed: BTreeSet<&str> =
            self.workload.pod.spec.containers.iter().filter(asked).map(|c| c.name.as_str()).collect();
        let mut pods = Vec::with_capacity(views.len());
        for view in &views {
            let of_present = view.config.annotations.get(names::REVISION) == Some(&self.revision);
            let is_ready = |container: &ContainerView| match self.workloads.inner.pods.health(&container.id) {
                Some(shown) => shown.ready,
                // Its probes have not begun yet.
                None => !(of_present && probed.contains(container.config.metadata.name.as_str())),
            };
            let name = &view.config.metadata.name;
            let since = self.ready.get(name).copied().unwrap_or(now);
            let mut seen = observe::seen(&self.workload, view, &is_ready, since);
            if self.leaving.contains(name) {
                seen.state = State::Leaving;
            }
            pods.push(seen);
        }
        let ready = pods.iter().filter_map(|pod| match pod.state {
            State::Ready(since) => Some((pod.name.clone(), since)),
            _ => None,
        });
        self.ready = ready.collect();
        for (name, making) in &self.making {
            if !pods.iter().any(|pod| pod.name == *name) {
                pods.push(Seen {
                    name: name.clone(),
                    revision: making.revision.clone(),
                    index: making.index,
                    created_at: making.at,
                    state: State::Pending,
                    restarts: 0,
                    ended_at: making.at,
                });
            }
        }
        pods
    }

    pub(super) fn decide(&mut self, pods: &[Seen]) -> Decision {
        let now = now();
        match &self.workload.spec {
            Spec::Set(set) => sets::decide(set, &self.revision, pods, now),
            Spec::Ordered(set) => ordered::decide(set, &self.revision, pods, now),
            Spec::Job(job) => job::decide(job, pods, &mut self.status, now),
            Spec::Cron(cron) => {
                let since = self.status.last.unwrap_or(self.record.created_at);
                cron::decide(cron, &self.jobs(), since, now)
            }
        }
    }

    fn jobs(&self) -> Vec<SeenJob> {
        let jobs = self.workloads.jobs_of(&self.record.uid).into_iter();
        let mut seen: Vec<_> = jobs
            .map(|(key, shown)| SeenJob {
                leaving: self.leaving.contains(&key.name),
                name: key.name,
                created_at: shown.created_at,
                complete: shown.complete,
            })
            .collect();
        for (name, making) in &self.making {
            if !seen.iter().any(|job| job.name == *name) {
                seen.push(SeenJob {
                    name: name.clone(),
                    created_at: making.at,
                    complete: None,
                    leaving: false,
                });
            }
        }
        seen
    }

    pub(super) fn publish(&self, pods: &[Seen], wake: Option<i64>) {
        let mut shown = Shown::new(&self.key, &self.record, &self.status);
        shown.message.clone_from(&self.message);
        let jobs = match self.workload.spec {
            Spec::Cron(_) => self.workloads.jobs_of(&self.record.uid),
            _ => Vec::new(),
        };
        shown.look(&self.workload, &self.revision, pods, &self.status, &jobs);
        if matches!(self.workload.spec, Spec::Cron(_)) {
            shown.next_at = wake.unwrap_or(0);
        }
        self.workloads.publish(&self.key, &self.workload, shown);
    }
}
