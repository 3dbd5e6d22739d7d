//! An exec session with a terminal: this side holds the master.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;

use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;

use super::attached::Terminal;
use super::{Ending, ExecSession, Input, Output, Resize, Resizer};
use crate::error::EngineError;

/// A session on this terminal's master. Where another one is the process's, its size is told as well.
pub(crate) fn with_terminal(
    master: OwnedFd,
    ending: Ending,
    other: Option<Terminal>,
) -> io::Result<ExecSession> {
    rustix::io::ioctl_fionbio(&master, true)?;
    let master = Arc::new(crate::host::async_fd::register_both(master)?);
    Ok(ExecSession {
        stdin: Some(Input::terminal(Arc::clone(&master))),
        stdout: Output::terminal(Arc::clone(&master)),
        stderr: None,
        resizer: Some(Resizer(Arc::new(Master { master, other }))),
        ending,
    })
}

#[derive(Debug)]
struct Master {
    master: Arc<AsyncFd<OwnedFd>>,
    other: Option<Terminal>,
}

impl Resize for Master {
    fn resize(
        &self,
        rows: u16,
        columns: u16,
    ) -> Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send + '_>> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let set = rustix::termios::tcsetwinsize(self.master.get_ref().as_fd(), size)
            .map_err(|e| EngineError::system("set the terminal's size", e));
        match &self.other {
            Some(other) if set.is_ok() => other.resize(rows, columns),
            Some(_) | None => Box::pin(std::future::ready(set)),
        }
    }
}
