//! The last words of a program: what it writes to a pipe is read while it runs, and the end of it is kept.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// As much of what it says is kept.
pub const KEPT: usize = 2 << 10;

/// What a program says. Nothing here waits, and nobody who holds the other end can make it wait.
#[derive(Debug)]
pub struct LastWords {
    /// Those that have not ended.
    pipes: Vec<OwnedFd>,
    kept: Vec<u8>,
}

impl LastWords {
    /// Listens at these ends of pipes.
    ///
    /// # Errors
    /// One cannot be made not to wait.
    pub fn new(pipes: Vec<OwnedFd>) -> std::io::Result<Self> {
        for pipe in &pipes {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { pipes, kept: Vec::new() })
    }

    /// What becomes readable when there is more, or its end.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().map(|pipe| pipe.as_fd())
    }

    /// Reads what is there, at most what a pipe holds.
    pub fn listen(&mut self) {
        let kept = &mut self.kept;
        self.pipes.retain(|pipe| is_open_after(pipe, kept));
    }

    /// The last of it, if there is any.
    pub fn last(mut self) -> Option<String> {
        self.listen();
        let text = String::from_utf8_lossy(&self.kept).trim().to_owned();
        Some(text).filter(|text| !text.is_empty())
    }
}

/// Reads what is in a pipe and keeps the last of it; whether there may be more.
fn is_open_after(pipe: &OwnedFd, kept: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 4 << 10];
    for _ in 0..16 {
        match rustix::io::read(pipe, &mut bytes) {
            Ok(length @ 1..) => {
                kept.extend_from_slice(&bytes[..length]);
                let over = kept.len().saturating_sub(KEPT);
                kept.drain(..over);
            }
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Ok(0) | Err(_) => return false,
        }
    }
    true
}
