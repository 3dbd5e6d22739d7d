//! What the loop asks of what makes a container: each in a thread that tells it the outcome.

use std::sync::Arc;
use std::time::Duration;

use berth_types::ContainerId;
use berth_types::shim::{Answer, Exit, Failure};

use super::Server;
use crate::container::{Asker, Start, Step, clock};
use crate::driver::Driver;
use crate::outcome::{self, Ended, system};
use crate::pump::{self, Note};
use crate::runtime::status_of;
use crate::stage::StageEvent;

/// Stack of the thread.
const STACK: usize = 256 << 10;
/// When a deletion is looked at again: its thread tells of it before.
const DELETE_LOOK: Duration = Duration::from_secs(180);

impl Server {
    /// Has a container started. The answer comes with the outcome.
    pub(super) fn start_by_driver(
        &mut self,
        asker: Asker,
        id: &ContainerId,
        driver: Arc<dyn Driver>,
    ) -> Result<Option<Answer>, Failure> {
        let thread = self.by_driver(id, move || Note::Started(driver.start()));
        thread.map_err(|e| system("start a thread for the runtime", &e))?;
        let container = self.container(id)?;
        container.stage = container.stage.after(StageEvent::Released);
        container.start = Some(Start { asker, since: clock(), deadline: None, failed: None, ended: None });
        Ok(None)
    }

    /// Whether the end of a container that is being started is told only when what starts it is done: it says whether the
    /// container was started.
    pub(super) fn waits_for_driver(&mut self, id: &ContainerId, ended: Ended) -> bool {
        let Some(container) = self.containers.get_mut(id) else { return false };
        match (&container.driver, &mut container.start) {
            (Some(_), Some(start)) => {
                start.ended = Some(ended);
                true
            }
            _ => false,
        }
    }

    /// A container was started, or why not.
    pub(super) fn started_by_driver(&mut self, id: &ContainerId, outcome: Result<(), Failure>) {
        self.by_drivers -= 1;
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(start) = &mut container.start else { return };
        let ended = start.ended.take();
        let failed = outcome.err().map(|failure| {
            let (code, message) = (status_of(&failure), failure.message.clone());
            (failure, Exit { code, signal: None, at: pump::now(), oom_killed: false, message })
        });
        match failed {
            None => {
                self.runs(id);
                if let Some(ended) = ended {
                    self.begin_ending(id, outcome::exit(ended, pump::now()));
                }
            }
            Some((failure, exit)) => {
                start.failed = Some((failure, exit.clone()));
                if ended.is_some() {
                    self.begin_ending(id, exit);
                } else {
                    container.kill_main();
                }
            }
        }
        self.reap_children();
    }

    /// Has a container deleted that has ended, if another made it.
    pub(super) fn delete_by_driver(&mut self, id: &ContainerId) -> bool {
        let Some(container) = self.containers.get_mut(id) else { return false };
        let (Some(driver), Some(ending)) = (container.driver.clone(), &mut container.ending) else {
            return false;
        };
        ending.enter(Step::Delete, DELETE_LOOK);
        if let Err(e) = self.by_driver(id, move || Note::Deleted(driver.delete())) {
            self.is_deleted(id, Err(format!("start a thread for the runtime: {e}")));
        }
        true
    }

    /// A container was deleted, or why not.
    pub(super) fn deleted_by_driver(&mut self, id: &ContainerId, outcome: Result<(), String>) {
        self.by_drivers -= 1;
        self.is_deleted(id, outcome);
        self.reap_children();
    }

    fn is_deleted(&mut self, id: &ContainerId, outcome: Result<(), String>) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let inside = container.is_inside();
        let Some(ending) = &mut container.ending else { return };
        if let Err(why) = outcome {
            ending.say(&why);
        }
        if inside {
            ending.enter(Step::Kill, Duration::ZERO);
            self.advance(id);
        } else {
            self.begin_removing(id);
        }
    }

    /// Does it in a thread. Until its outcome is told, only known children are reaped.
    pub(super) fn by_driver(
        &mut self,
        id: &ContainerId,
        work: impl FnOnce() -> Note + Send + 'static,
    ) -> std::io::Result<()> {
        let (notes, container) = (self.notes.clone(), id.clone());
        let thread = std::thread::Builder::new().name("runtime".to_owned()).stack_size(STACK);
        thread.spawn(move || notes.send(&container, work()))?;
        self.by_drivers += 1;
        Ok(())
    }
}
