//! The terminal of the command line: raw mode, which is always restored, and its size.

use std::io::{IsTerminal, Stdin};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::api;

/// Whether standard input and output are terminals.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Refuses `-i -t` without a terminal: the end of a pipe is not a key, and what reads the terminal would
/// wait forever.
pub(crate) fn demand(tty: bool, stdin: bool) -> anyhow::Result<()> {
    if tty && stdin && !std::io::stdin().is_terminal() {
        anyhow::bail!("cannot use -i and -t: standard input is not a terminal (hint: leave -t out)");
    }
    Ok(())
}

/// The terminal's size; None when there is none.
pub(crate) fn size() -> Option<api::Size> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    Some(api::Size { rows: size.ws_row.into(), columns: size.ws_col.into() })
}

/// The terminal in raw mode: every key goes to the container. Dropping it goes back.
#[derive(Debug)]
pub(crate) struct Raw {
    stdin: Stdin,
    before: Termios,
}

impl Raw {
    /// Sets raw mode; None when standard input is not a terminal.
    pub(crate) fn set() -> anyhow::Result<Option<Self>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(Self { stdin, before }))
    }
}

/// The terminal without an echo of what is typed, for a password. Dropping it goes back.
#[derive(Debug)]
pub(crate) struct Silent {
    stdin: Stdin,
    before: Termios,
}

impl Silent {
    /// Turns the echo off.
    pub(crate) fn set() -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that was closed has no mode to restore.
        tcsetattr(&self.stdin, OptionalActions::Now, &self.before).ok();
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that was closed has no mode to restore.
        tcsetattr(&self.stdin, OptionalActions::Now, &self.before).ok();
    }
}
