//! A terminal without a user: a pseudo-terminal whose other end the test holds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use berth_testkit::guard::{wait_for, wait_until};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::home::LIMIT;

/// The terminal, and what was shown on it.
#[derive(Debug)]
pub struct Terminal {
    near: File,
    far: OwnedFd,
    shown: Arc<Mutex<String>>,
    /// How much of it was expected already.
    seen: usize,
}

impl Terminal {
    pub fn open(rows: u16, columns: u16) -> Self {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&near).unwrap();
        unlockpt(&near).unwrap();
        let name = ptsname(&near, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let far = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        let terminal = Self { near: near.into(), far, shown: Arc::default(), seen: 0 };
        terminal.resize(rows, columns);
        let (mut from, shown) = (terminal.near.try_clone().unwrap(), terminal.shown.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose other end is closed reads as an error.
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        terminal
    }

    /// Runs a command in a session of its own, whose terminal this is.
    pub fn run(&self, command: &Command) -> Child {
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            session.current_dir(dir);
        }
        let end = || self.far.try_clone().unwrap();
        session.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    pub fn keys(&mut self, keys: &str) {
        self.near.write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.near, size).unwrap();
    }

    /// Waits until this text is shown, after what was expected before.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let found = wait_for(LIMIT, || {
            let shown = self.shown.lock().unwrap();
            shown[self.seen..].find(text).map(|at| self.seen + at + text.len())
        });
        match found {
            Some(end) => self.seen = end,
            None => panic!("{text:?} was not shown: {:?}", &self.text()[self.seen..]),
        }
    }

    pub fn text(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits for the end; the exit status.
    #[track_caller]
    pub fn end(&self, child: &mut Child) -> i32 {
        let ended = wait_until(LIMIT, || child.try_wait().unwrap().is_some());
        if !ended {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        assert!(ended, "it did not end: {:?}", self.text());
        status.code().unwrap()
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.far).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    pub fn is_raw(&self) -> bool {
        !tcgetattr(&self.far).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}
