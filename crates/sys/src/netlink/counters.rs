//! What interfaces of other network namespaces have sent and received.
//!
//! Read from `/proc/thread-self/net/dev` (proc_pid_net(5)) by one thread that enters the namespaces one after the
//! other. A request to rtnetlink would wait for the lock under which interfaces are made and removed.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The longest list of interfaces that is read: some thousand of them.
const LONGEST: u64 = 1 << 20;

/// What one interface has sent and received since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// The interface's name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets that arrived damaged.
    pub rx_errors: u64,
    /// Packets that arrived and were dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets that were dropped instead of being sent.
    pub tx_dropped: u64,
}

/// Calls `each` with the number of each namespace of `paths` and the counters of its interfaces but loopback, or
/// why they cannot be read; in a thread made for it.
///
/// # Errors
/// The thread cannot be made.
pub fn counters(
    paths: &[impl AsRef<Path> + Sync],
    mut each: impl FnMut(usize, io::Result<Vec<Counters>>) + Send,
) -> io::Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    std::thread::scope(|scope| {
        let work = || {
            for (number, path) in paths.iter().enumerate() {
                each(number, of_namespace(path.as_ref()));
            }
        };
        let thread = std::thread::Builder::new().name("netns".into()).stack_size(128 * 1024);
        match thread.spawn_scoped(scope, work)?.join() {
            Ok(()) => Ok(()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Leaves the calling thread in the namespace.
fn of_namespace(path: &Path) -> io::Result<Vec<Counters>> {
    let netns = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
    let text = crate::fs::read_bounded(Path::new("/proc/thread-self/net/dev"), LONGEST)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// Two lines of headings, then one for each interface.
fn parse(text: &str) -> Vec<Counters> {
    text.lines().skip(2).filter_map(interface).filter(|interface| interface.name != "lo").collect()
}

fn interface(line: &str) -> Option<Counters> {
    let (name, numbers) = line.rsplit_once(':')?;
    let mut numbers = numbers.split_ascii_whitespace().map(str::parse);
    let mut all = [0u64; 16];
    for number in &mut all {
        *number = numbers.next()?.ok()?;
    }
    Some(Counters {
        name: name.trim().to_owned(),
        rx_bytes: all[0],
        rx_packets: all[1],
        rx_errors: all[2],
        rx_dropped: all[3],
        tx_bytes: all[8],
        tx_packets: all[9],
        tx_errors: all[10],
        tx_dropped: all[11],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
        lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  \
        eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
        eth0:1: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n bad: 1 2\n";

    #[test]
    fn the_columns_are_taken_by_their_place_and_loopback_is_left_out() {
        let read = parse(TEXT);
        assert_eq!(read.len(), 2, "{read:?}");
        let eth0 = Counters {
            name: "eth0".into(),
            rx_bytes: 1,
            rx_packets: 2,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 9,
            tx_packets: 10,
            tx_errors: 11,
            tx_dropped: 12,
        };
        assert_eq!(read[0], eth0);
        assert_eq!(read[1].name, "eth0:1");
        assert_eq!(parse(""), []);
    }

    #[test]
    fn a_namespace_that_is_gone_does_not_hide_the_next() {
        let mut read = Vec::new();
        counters(&["/nowhere/net", "/proc/self/status"], |number, result| {
            read.push((number, result.is_err()));
        })
        .unwrap();
        assert_eq!(read, [(0, true), (1, true)]);
    }
}
