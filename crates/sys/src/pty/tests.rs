#![allow(unsafe_code, reason = "an ioctl that rustix has not")]

use std::os::fd::AsRawFd as _;

use rustix::fs::Mode;

use super::*;

#[test]
fn a_multiplexer_gives_a_terminal_and_nothing_else_does() {
    let open_at = |path| rustix::fs::open(path, MULTIPLEXER, Mode::empty());
    assert_eq!(open(open_at(c"/dev/null").expect("open")).err(), Some(Errno::NOTTY));
    let Ok(ptmx) = open_at(c"/dev/pts/ptmx").or_else(|_| open_at(c"/dev/ptmx")) else {
        eprintln!("skipped: a_multiplexer_gives_a_terminal_and_nothing_else_does: no /dev/ptmx");
        return;
    };
    // A /dev/ptmx of devtmpfs is not on a devpts, and refused.
    if let Ok(pty) = open(ptmx) {
        rustix::io::write(&pty.master, b"x\n").expect("write");
        let mut buffer = [0; 8];
        assert_eq!(rustix::io::read(&pty.slave, &mut buffer), Ok(2));
    }
}

#[test]
fn a_terminal_ends_when_its_last_slave_is_closed_and_not_when_it_is_hung_up() {
    let ptmx = rustix::fs::open(c"/dev/pts/ptmx", MULTIPLEXER, Mode::empty());
    let Some(pty) = ptmx.ok().and_then(|ptmx| open(ptmx).ok()) else {
        eprintln!("skipped: a_terminal_ends_when_its_last_slave_is_closed: no /dev/pts/ptmx for this user");
        return;
    };
    // SAFETY: an ioctl without an argument.
    let hung_up = unsafe { libc::ioctl(pty.slave.as_raw_fd(), libc::TIOCVHANGUP) };
    if hung_up != 0 {
        eprintln!("skipped: a_terminal_ends_when_its_last_slave_is_closed: needs CAP_SYS_ADMIN");
        return;
    }
    rustix::io::ioctl_fionbio(&pty.master, true).expect("set");
    let read = || rustix::io::read(&pty.master, &mut [0; 8]);
    assert_eq!(read(), Err(Errno::AGAIN));
    drop(pty.slave);
    assert_eq!(read(), Err(Errno::IO));
    let slave = peer(pty.master.as_fd()).expect("open the slave again");
    rustix::io::write(&slave, b"x").expect("write");
    assert_eq!(read(), Ok(1));
}
