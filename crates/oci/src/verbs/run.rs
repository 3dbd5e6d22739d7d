//! `run`: create and start in one, and mostly the whole life.

use std::os::fd::AsFd as _;
use std::time::Instant;

use super::create::{Created, KILL_LIMIT, create};
use super::{delete, refused, seal, start};
use crate::cli::Run;
use crate::foreground::Foreground;
use crate::log::Log;
use crate::store::Store;
use crate::{OciError, stdio};

pub(super) fn run(store: &Store, options: &Run, log: &Log) -> Result<i32, OciError> {
    if options.no_subreaper {
        return Err(refused("--no-subreaper", "this program takes no orphans in any case"));
    }
    seal(log)?;
    let given = stdio::preserved(options.create.preserve_fds)?;
    let id = options.create.id.as_str();
    if options.detach {
        create(store, &options.create, &given, None, log)?;
        return match start::start(store, id, None, log) {
            Ok(()) => Ok(0),
            Err(error) => {
                forget(store, id, log);
                Err(error)
            }
        };
    }
    // What ends this program is forwarded from before there is a container.
    let foreground = Foreground::signals().map_err(OciError::system("set up signals"))?;
    let created = create(store, &options.create, &given, Some(foreground.signals_fd()), log)?;
    let code = live(store, id, created, foreground, log);
    // One that nobody looks after any more does not stay.
    if code.is_err() || !options.keep {
        forget(store, id, log);
    }
    code
}

/// From the start to the end; the status of its process.
fn live(
    store: &Store,
    id: &str,
    mut created: Created,
    mut foreground: Foreground,
    log: &Log,
) -> Result<i32, OciError> {
    start::start(store, id, Some(foreground.signals_fd()), log)?;
    let console = created.console.take();
    if console.is_some() {
        foreground.take_terminal().map_err(OciError::system("take the terminal"))?;
    }
    let end = || drop(created.group.with(|group| group.kill_all(Instant::now() + KILL_LIMIT)));
    foreground
        .until_exit(created.pidfd.as_fd(), console, end)
        .map_err(OciError::system("wait for the container"))
}

/// Removes it, unless somebody else has. That this fails is told: the status is that of the process.
fn forget(store: &Store, id: &str, log: &Log) {
    let forgotten = store
        .locked(id)
        .and_then(|(locked, mut record)| delete::destroy(&locked.container, &mut record, log));
    match forgotten {
        Ok(()) | Err(OciError::NotFound { .. }) => {}
        Err(error) => log.warn(&berth_types::error::chain(&error)),
    }
}
