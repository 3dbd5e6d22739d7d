//! The terminal of the command line: raw mode with a sure way back, and its size.

use std::io::{IsTerminal, Stdin};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::api;

/// Whether both ends are a terminal that a person sits at.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Refuses keys for a terminal where nobody can press them: the end of a pipe is no key, and what reads the terminal would
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

impl Drop for Raw {
    fn drop(&mut self) {
        // When the terminal is gone there is nothing to go back to.
        tcsetattr(&self.stdin, OptionalActions::Now, &self.before).ok();
    }
}
