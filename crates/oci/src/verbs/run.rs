//! `run`: create and start in one, and mostly the whole life.

use std::os::fd::AsFd as _;
use std::time::Instant;

use berth_sys::cgroup::Cgroup;

use super::create::{KILL_LIMIT, create};
use super::{delete, refused, seal, start};
use crate::OciError;
use crate::cli::Run;
use crate::foreground::Foreground;
use crate::log::Log;
use crate::store::Store;

pub(super) fn run(store: &Store, options: &Run, log: &Log) -> Result<i32, OciError> {
    if options.no_subreaper {
        return Err(refused("--no-subreaper", "this program takes no orphans in any case"));
    }
    seal(log)?;
    let id = options.create.id.as_str();
    // What ends this program is forwarded from before there is a container.
    let shown = !options.detach && options.create.console_socket.is_none();
    let foreground = match options.detach {
        true => None,
        false => Some(Foreground::signals().map_err(OciError::system("set up signals"))?),
    };
    let mut created = create(store, &options.create, !shown, log)?;
    let started = start::start(store, id, log);
    let (Some(mut foreground), Ok(())) = (foreground, &started) else {
        if started.is_err() {
            forget(store, id, log)?;
        }
        return started.map(|()| 0);
    };
    let console = created.console.take();
    if console.is_some() {
        foreground.take_terminal().map_err(OciError::system("take the terminal"))?;
    }
    let cgroup = Cgroup::from_dirs(store.open(id)?.load()?.cgroups);
    let end = || drop(cgroup.kill_all(Instant::now() + KILL_LIMIT));
    let code = foreground
        .until_exit(created.pidfd.as_fd(), console, end)
        .map_err(OciError::system("wait for the container"))?;
    if !options.keep {
        forget(store, id, log)?;
    }
    Ok(code)
}

fn forget(store: &Store, id: &str, log: &Log) -> Result<(), OciError> {
    let (locked, record) = store.locked(id)?;
    delete::destroy(&locked.container, &record, log)
}
