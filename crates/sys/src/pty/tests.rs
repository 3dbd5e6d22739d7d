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
