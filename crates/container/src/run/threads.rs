//! The namespaces of a process whose first thread has ended while others run.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_sys::namespace;

use super::child::Entry;
use super::group::pid_of;

/// The most threads that are asked.
const MAX_THREADS: usize = 4096;

/// The namespaces of one thread.
#[derive(Debug)]
pub(super) struct Spaces {
    pub(super) pid: OwnedFd,
    /// The others, with their kinds, in the order in which they are entered.
    others: Vec<(OwnedFd, u64)>,
}

impl Spaces {
    pub(super) fn entries(&self) -> Vec<Entry<'_>> {
        self.others.iter().map(|(fd, kinds)| Entry { fd: fd.as_fd(), kinds: *kinds }).collect()
    }
}

/// Those of the first thread of `target` that has any: a child of the caller's that it has not reaped, so that the number is its
/// own. A namespace for user ids or of clocks only when its kind is in `also`.
pub(super) fn spaces(target: BorrowedFd<'_>, also: u64) -> Option<Spaces> {
    let threads = format!("/proc/{}/task", pid_of(target)?);
    let threads = std::fs::read_dir(threads).ok()?.take(MAX_THREADS).flatten();
    threads.map(|thread| thread.path().join("ns")).find_map(|dir| {
        let open = |name: &str| std::fs::File::open(dir.join(name)).map(OwnedFd::from).ok();
        // The user namespace gives the right to the others.
        let kinds = [
            ("user", namespace::USER),
            ("mnt", namespace::MOUNT),
            ("net", namespace::NET),
            ("ipc", namespace::IPC),
            ("uts", namespace::UTS),
            ("cgroup", namespace::CGROUP),
            ("time", namespace::TIME),
        ];
        let optional = namespace::USER | namespace::TIME;
        let wanted = kinds.iter().filter(|(_, kind)| kind & optional & !also == 0);
        let others = wanted.map(|(name, kind)| Some((open(name)?, *kind))).collect::<Option<Vec<_>>>()?;
        Some(Spaces { pid: open("pid")?, others })
    })
}
