//! Starting a prepared container.

use std::time::Duration;

use berth_types::ContainerId;
use berth_types::lifecycle::container::{Event, State};

use super::container::{Starting, exit_view, unknown_exit};
use super::lookup::refused;
use super::owner::Owner;
use super::{Report, Waiter};
use crate::error::EngineError;
use crate::model::{ExitReason, ExitView};
use crate::shim::ShimError;
use crate::stages::Timeline;

/// The time that an execve may take: the program may lie on a slow disk.
const START_LIMIT: Duration = Duration::from_secs(60);

impl Owner {
    /// Somebody asks to start a container.
    pub(crate) fn start(&mut self, id: &ContainerId, reply: Waiter<()>) {
        let shim = self.link.shim.clone();
        let container = match self.container(id) {
            Ok(container) => container,
            Err(error) => return self.answer(reply, Err(error)),
        };
        if let Some(starting) = &mut container.work.starting {
            starting.waiters.push(reply);
            return;
        }
        // One that is being stopped before it was started has a killed process.
        if container.work.stopping.is_some() {
            let error = refused(container, Event::Start);
            return self.answer(reply, Err(error));
        }
        if let Err(error) = container.apply(Event::Start) {
            return self.answer(reply, Err(error));
        }
        container.work.starting = Some(Starting { waiters: vec![reply], ended: None });
        let (shared, sandbox, id) = (self.desk.shared.clone(), self.id.clone(), id.clone());
        self.desk.spawn(async move {
            let timeline = Timeline::begin();
            let result = match shim {
                Some(shim) => shim.start(id.clone(), START_LIMIT).await,
                None => Err(ShimError::Lost),
            };
            shared.stages.add(&sandbox, "start container", &timeline);
            Report::Started(id, result)
        });
    }

    /// The shim answered, or does not.
    pub(crate) fn is_started(&mut self, id: &ContainerId, result: Result<i64, ShimError>) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(Starting { waiters, ended }) = container.work.starting.take() else { return };
        match result {
            Ok(at) => {
                container.started_at = Some(at);
                container.apply(Event::StartOk).expect("a start in flight was accepted");
                if let Some(exit) = ended {
                    self.end(id, exit_view(&exit, false));
                }
                self.answer_all(waiters, &Ok(()));
            }
            Err(error) => self.start_failed(id, &error, ended.map(|exit| exit_view(&exit, true)), waiters),
        }
    }

    fn start_failed(
        &mut self,
        id: &ContainerId,
        error: &ShimError,
        ended: Option<ExitView>,
        waiters: Vec<Waiter<()>>,
    ) {
        let view = match (ended, error) {
            (Some(view), _) => Some(view),
            (None, ShimError::Failed(failure)) => Some(ExitView {
                code: 128,
                finished_at: crate::clock::now(),
                reason: ExitReason::StartError,
                message: failure.message.clone(),
            }),
            (None, ShimError::Lost) => Some(unknown_exit("its shim ended while it was being started")),
            // Nobody knows whether it runs: the shim's next word or a stop decides.
            (
                None,
                ShimError::Timeout { .. }
                | ShimError::Codec(_)
                | ShimError::Unexpected { .. }
                | ShimError::NotSent(_),
            ) => None,
        };
        let code = view.as_ref().map_or(128, |view| view.code);
        let answer = match error {
            ShimError::Failed(failure) => EngineError::Command { message: failure.message.clone(), code },
            ShimError::Lost
            | ShimError::Timeout { .. }
            | ShimError::Codec(_)
            | ShimError::Unexpected { .. }
            | ShimError::NotSent(_) => EngineError::failed("start the container", error.clone()),
        };
        match view {
            Some(mut view) => {
                if matches!(error, ShimError::Failed(_)) {
                    view.reason = ExitReason::StartError;
                    if view.code == 0 {
                        view.code = 128;
                    }
                }
                self.end(id, view);
            }
            None => {
                if let Some(container) = self.containers.get_mut(id)
                    && container.state == State::Starting
                {
                    drop(container.apply(Event::ShimLost));
                }
            }
        }
        self.answer_all(waiters, &Err(answer));
    }
}
