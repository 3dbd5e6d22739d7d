//! The network namespace of what serves files to gVisor's kernels: empty, and one for all pods of a daemon. Each pod has it mounted
//! where runsc looks for it. Where there is none runsc makes one for the pod, which takes as long as all else that it does for a
//! gofer, and as long again when the host takes it away; a runsc that does not know of the file makes one for each gofer.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use berth_sys::namespace;
use rustix::fs::{Mode, OFlags};

/// The type of file systems of namespaces (`NSFS_MAGIC`).
const NSFS: u64 = 0x6e73_6673;

/// The namespace, once it was needed.
#[derive(Debug, Default)]
pub(super) struct Network(Mutex<Option<OwnedFd>>);

impl Network {
    /// Mounts it there, if it is not. Without it a pod is only slower.
    pub(super) fn mount(&self, at: &Path) {
        if let Err(error) = self.try_mount(at) {
            let error = error.to_string();
            tracing::warn!(at = %at.display(), error, "failed to share the network namespace of gVisor's gofers");
        }
    }

    fn try_mount(&self, at: &Path) -> io::Result<()> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Held until it is mounted: containers of one pod are made side by side.
        let namespace = match &mut *made {
            Some(namespace) => namespace,
            none => none.insert(make()?),
        };
        if let Some(dir) = at.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let file = std::fs::File::options().create(true).truncate(false).write(true).open(at);
        match file {
            Ok(file) if is_namespace(&file)? => return Ok(()),
            // One that is mounted cannot be written.
            Err(_) if is_namespace(&std::fs::File::open(at)?)? => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(e),
        }
        let path = format!("/proc/self/fd/{}", namespace.as_raw_fd());
        Ok(rustix::mount::mount_bind(path, at)?)
    }
}

/// A thread's own, which the descriptor keeps.
fn make() -> io::Result<OwnedFd> {
    let thread = std::thread::Builder::new().name("gofers-network".to_owned()).stack_size(64 << 10);
    let thread = thread.spawn(|| {
        namespace::unshare(namespace::NET)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())?)
    });
    thread?.join().map_err(|_| io::Error::other("the thread that makes the namespace panicked"))?
}

fn is_namespace(file: &std::fs::File) -> io::Result<bool> {
    Ok(u64::try_from(rustix::fs::fstatfs(file)?.f_type).is_ok_and(|magic| magic == NSFS))
}

#[cfg(test)]
mod tests;
