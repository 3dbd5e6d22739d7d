//! Carrying out what the states call for: answers, and work that reports back.

use std::sync::Arc;
use std::time::Duration;

use berth_sys::cgroup::CgroupPath;
use berth_types::ContainerId;
use berth_types::lifecycle::Outcome;
use berth_types::lifecycle::container::{
    Ask, Container, Effect as OfContainer, Message as ToContainer, State as OfOne,
};
use berth_types::lifecycle::pod::{Effect, Link, Message as ToPod, PodEnd};
use berth_types::lifecycle::sandbox::{Effect as OfSandbox, Message as ToSandbox, State};
use tokio::sync::watch;
use tokio::time::Instant;

use super::inbox::refused_container;
use super::owner::{Owner, Running};
use super::{Caller, Live, Report, moments, teardown};
use crate::about::About;
use crate::container::adjust::What;
use crate::container::exit::{self, Exit};
use crate::container::stop::Stopper;
use crate::container::{Preparation, remove, start};
use crate::error::EngineError;
use crate::handler::Handler;
use crate::host::stages::Timeline;
use crate::model::Resources;
use crate::recovery;
use crate::shared::Shared;
use crate::shim::ShimError;

/// The longest grace: a longer one is cut to it.
const MAX_GRACE: Duration = Duration::from_secs(60 * 60 * 24 * 365);
/// The time that containers which are being prepared have to report after their pod was taken down.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

impl Owner {
    pub(super) fn carry_out(&mut self, effect: Effect<Live>) {
        match effect {
            Effect::Sandbox(OfSandbox::Answer(caller, outcome)) => self.answer_of_sandbox(caller, outcome),
            Effect::Sandbox(OfSandbox::TakeDown) => self.take_down(),
            Effect::Sandbox(OfSandbox::Settle) => self.settle(),
            Effect::Sandbox(OfSandbox::Clear) => self.clear(),
            Effect::Container(id, OfContainer::Answer(caller, outcome)) => {
                self.answer_of_container(&id, caller, outcome);
            }
            Effect::Container(id, OfContainer::Start) => self.start(id),
            Effect::Container(id, OfContainer::Stop(grace, ask)) => self.stop(id, grace, ask),
            Effect::Container(id, OfContainer::Hurry(grace)) => self.hurry(&id, grace),
            // Its stopper is no longer needed.
            Effect::Container(id, OfContainer::Ended) => drop(self.deadlines.remove(&id)),
            Effect::Container(id, OfContainer::Remove) => self.remove(id),
            Effect::Prepare(id) => self.prepare(id),
            Effect::Connect => self.connect(),
        }
    }

    /// Where the ends of this pod's containers are.
    pub(crate) fn ends(&self) -> exit::Place {
        exit::Place { dir: self.dir.clone(), records: Arc::clone(&self.records) }
    }

    fn handler(&self) -> Option<Arc<dyn Handler>> {
        self.spawner.shared.handlers.of(&self.config.handler).ok()
    }

    /// The group of the pod's own kernel, if it has one.
    pub(super) fn kernel(&self) -> Option<CgroupPath> {
        self.handler().filter(|handler| handler.has_own_kernel())?;
        self.cgroups.kernel(&self.id).ok()
    }

    /// That, or the group of what serves the pod's containers: it has the same place.
    fn beside(&self) -> Option<CgroupPath> {
        self.handler().filter(|handler| handler.has_own_kernel() || handler.has_serving_group())?;
        self.cgroups.kernel(&self.id).ok()
    }

    /// The limits of the containers that live or are being made, but for one.
    fn limits_beside(&self, id: &ContainerId) -> Vec<Resources> {
        let lives = |life: &Container<Live>| life.may_live() || life.state() == OfOne::Creating;
        let living = self.pod.containers().iter().filter(|(other, life)| *other != id && lives(life));
        living.filter_map(|(other, _)| Some(self.items.get(other)?.limits.now().clone())).collect()
    }

    fn answer_of_sandbox(&mut self, caller: Caller, outcome: Outcome<EngineError>) {
        let result = match outcome {
            Outcome::Done => Ok(()),
            Outcome::Refused(refused) => Err(self.refused(refused)),
            Outcome::Failed(error) => Err(error),
        };
        self.answer_caller(caller, result);
    }

    fn answer_of_container(&mut self, id: &ContainerId, caller: Caller, outcome: Outcome<EngineError>) {
        match outcome {
            Outcome::Refused(refused) if refused.thing == "container" => {
                self.answer_caller(caller, Err(refused_container(id, refused)));
            }
            Outcome::Failed(error) => {
                let error = self.in_this_state(error);
                self.answer_caller(caller, Err(error));
            }
            outcome => self.answer_of_sandbox(caller, outcome),
        }
    }

    fn prepare(&mut self, id: ContainerId) {
        let (Some(item), Some(shim)) = (self.items.get(&id), self.shim()) else {
            let error = EngineError::failed("create the container", ShimError::Lost);
            let message = ToContainer::NotPrepared(error);
            return self.tell(ToPod::Container(id, message));
        };
        let work = Preparation::new(
            Arc::clone(&self.spawner.shared),
            (self.id.clone(), Arc::clone(&self.config), self.dir.clone(), self.cgroups.clone()),
            shim,
            id.clone(),
            (Arc::clone(&item.config), item.created_at),
            (self.limits_beside(&id), self.creations.next()),
        );
        let (failed, about) = (id.clone(), About::now().of_container(&id));
        let work = async move {
            match work.run().await {
                Ok(made) => Report::Prepared(id, Box::new(made)),
                Err(error) => Report::NotPrepared(id, error),
            }
        };
        about.within(|| self.spawner.spawn(work, move |error| Report::NotPrepared(failed, error)));
    }

    fn start(&mut self, id: ContainerId) {
        let (shim, shared, sandbox) = (self.shim(), Arc::clone(&self.spawner.shared), self.id.clone());
        let (failed, heard) = (id.clone(), self.announce(What::Starts, Some(&id)));
        let about = About::now().of_container(&id);
        let work = async move {
            let timeline = Timeline::begin();
            let asks = heard.is_some();
            let allowed = moments::allowed(heard).await;
            if asks {
                timeline.stage("plugins", timeline.began());
            }
            let since = std::time::Instant::now();
            let message = match allowed {
                Ok(()) => start::run(shim.clone(), &id).await,
                Err(error) => start::refused(shim.clone(), &id, error).await,
            };
            let step = timeline.stage("shim start", since);
            if let Some(shim) = &shim {
                timeline.add_shims(step, since, shim, &id);
            }
            shared.stages.add(&sandbox, "start container", &timeline);
            Report::Container(id, message)
        };
        let failed = |error| Report::Container(failed, ToContainer::StartOverdue(error));
        about.within(|| self.spawner.spawn(work, failed));
    }

    fn stop(&mut self, id: ContainerId, grace: Duration, ask: Ask) {
        let Some(facts) = self.pod.containers().get(&id).and_then(|life| life.facts()) else { return };
        let (sender, deadline) = watch::channel(Instant::now() + grace.min(MAX_GRACE));
        let stopper = Stopper {
            id: id.clone(),
            shim: self.shim.subscribe(),
            ask,
            signal: (!grace.is_zero()).then_some(facts.stop_signal),
            deadline,
            shared: Arc::clone(&self.spawner.shared),
            cgroup: facts.cgroup.clone(),
            kernel: self.kernel(),
            started_at: self.pod.containers().get(&id).and_then(|life| life.started_at()),
            ends: self.ends(),
            timeline: Timeline::begin(),
        };
        let (shared, sandbox, timeline) =
            (Arc::clone(&self.spawner.shared), self.id.clone(), stopper.timeline.clone());
        self.deadlines.insert(id.clone(), sender);
        // The end of the container drops the deadline's sender, which ends the stopper without a report.
        let about = About::now().of_container(&id);
        let work = async move {
            let message = stopper.run().await;
            shared.stages.add(&sandbox, "stop container", &timeline);
            Some(Report::Container(id, message?))
        };
        about.within(|| self.spawner.run(work));
    }

    fn hurry(&mut self, id: &ContainerId, grace: Duration) {
        let sooner = Instant::now() + grace.min(MAX_GRACE);
        if let Some(deadline) = self.deadlines.get(id) {
            deadline.send_if_modified(|now| {
                let earlier = sooner < *now;
                if earlier {
                    *now = sooner;
                }
                earlier
            });
        }
    }

    fn remove(&mut self, id: ContainerId) {
        let parts = remove::Parts {
            id: id.clone(),
            shim: self.shim(),
            cgroup: self
                .pod
                .containers()
                .get(&id)
                .and_then(|life| life.facts())
                .and_then(|facts| facts.cgroup.clone()),
            dir: self.dir.clone(),
            handler: self.handler(),
        };
        let (shared, records, failed) =
            (Arc::clone(&self.spawner.shared), Arc::clone(&self.records), id.clone());
        let (heard, sandbox) = (self.announce(What::Removed, Some(&id)), self.id.clone());
        let about = About::now().of_container(&id);
        let work = async move {
            let timeline = Timeline::begin();
            moments::told(heard).await;
            let since = std::time::Instant::now();
            let removed = parts.remove(&shared, &records).await;
            timeline.stage("files", since);
            shared.stages.add(&sandbox, "remove container", &timeline);
            let message = removed.map_or_else(ToContainer::NotRemoved, |()| ToContainer::Removed);
            Report::Container(id, message)
        };
        let failed = |error| Report::Container(failed, ToContainer::NotRemoved(error));
        about.within(|| self.spawner.spawn(work, failed));
    }

    /// Takes the pod down. Its containers' ends are read when it is.
    fn take_down(&mut self) {
        if self.pod.link() == Link::Gone && self.message.is_empty() {
            "the pod's shim does not answer".clone_into(&mut self.message);
        }
        let parts = teardown::Parts {
            id: self.id.clone(),
            dir: self.dir.clone(),
            shim: self.shim().filter(|_| self.pod.link() != Link::Gone),
            shim_pid: self.running.shim_pid,
            cgroups: self
                .pod
                .containers()
                .values()
                .filter_map(|life| life.facts().and_then(|facts| facts.cgroup.clone()))
                .chain(self.beside())
                .chain([self.cgroups.pod.clone()])
                .collect(),
        };
        let why = if self.message.is_empty() { "its pod was stopped" } else { &self.message }.to_owned();
        let living = self.pod.containers().iter().filter(|(_, life)| life.may_live());
        let living: Vec<(ContainerId, Option<i64>)> =
            living.map(|(id, life)| (id.clone(), life.started_at())).collect();
        let (shared, ends) = (Arc::clone(&self.spawner.shared), self.ends());
        let down = self.down(&living, &why);
        self.spawner.spawn(
            async move {
                let timeline = Timeline::begin();
                let result = down.run(&parts, &timeline).await;
                shared.stages.add(&parts.id, "stop sandbox", &timeline);
                if let Err(error) = result {
                    return Report::Pod(ToPod::Sandbox(ToSandbox::NotDown(error)));
                }
                let late = Exit::noticed(&why);
                let overtaken = EngineError::Refused {
                    thing: "pod sandbox",
                    id: parts.id.short().to_owned(),
                    refused: berth_types::lifecycle::Refused {
                        thing: "pod sandbox",
                        event: "go on in",
                        state: "stopped",
                    },
                };
                let read = Shared::blocking(move || {
                    let end = |(id, started_at): (ContainerId, Option<i64>)| {
                        let (started_at, exit) = ends.settle(&id, started_at, &why);
                        (id, started_at, exit)
                    };
                    Ok(living.into_iter().map(end).collect())
                });
                match read.await {
                    Ok(ends) => Report::Pod(ToPod::Down(PodEnd { ends, late, overtaken })),
                    Err(error) => Report::Pod(ToPod::Sandbox(ToSandbox::NotDown(error))),
                }
            },
            |error| Report::Pod(ToPod::Sandbox(ToSandbox::NotDown(error))),
        );
    }

    /// Containers that are being prepared do not keep the callers of Stop waiting forever.
    fn settle(&mut self) {
        self.set_shim(None);
        self.running = Running::default();
        self.failure.clear();
        if !matches!(self.state(), State::Stopping { .. }) {
            return;
        }
        let error = EngineError::Timeout {
            what: "the preparation of a container in the stopped pod".to_owned(),
            millis: u64::try_from(SETTLE_LIMIT.as_millis()).unwrap_or(u64::MAX),
        };
        self.spawner.run(async move {
            tokio::time::sleep(SETTLE_LIMIT).await;
            Some(Report::Pod(ToPod::Sandbox(ToSandbox::NotDown(error))))
        });
    }

    fn clear(&mut self) {
        let containers = self
            .pod
            .containers()
            .iter()
            .map(|(id, life)| (id.clone(), life.facts().and_then(|facts| facts.cgroup.clone())));
        let containers = containers.chain(self.unreadable.iter().map(|id| (id.clone(), None))).collect();
        let parts = teardown::Rest {
            id: self.id.clone(),
            dir: self.dir.clone(),
            pod: self.cgroups.pod.clone(),
            beside: self.beside(),
            containers,
            handler: self.handler(),
        };
        let (shared, records) = (Arc::clone(&self.spawner.shared), Arc::clone(&self.records));
        for id in self.pod.containers().keys() {
            drop(self.announce(What::Removed, Some(id)));
        }
        let heard = self.announce(What::PodRemoved, None);
        self.spawner.spawn(
            async move {
                moments::told(heard).await;
                Report::Pod(ToPod::Sandbox(match parts.remove(&shared, &records).await {
                    Ok(()) => ToSandbox::Cleared,
                    Err(error) => ToSandbox::NotCleared(error),
                }))
            },
            |error| Report::Pod(ToPod::Sandbox(ToSandbox::NotCleared(error))),
        );
    }

    fn connect(&mut self) {
        // Of one that is being prepared, its preparation reports.
        let made = self.pod.containers().iter().filter(|(_, life)| life.facts().is_some());
        let containers = made.map(|(id, life)| (id.clone(), life.started_at())).collect();
        let way = recovery::Way {
            shared: Arc::clone(&self.spawner.shared),
            id: self.id.clone(),
            dir: self.dir.clone(),
            ends: self.ends(),
            notices: self.notices(),
            containers,
        };
        tracing::warn!(sandbox = self.id.short(), "the connection to the pod's shim ended; connecting again");
        recovery::connect(way, &self.spawner);
    }
}
