//! User namespaces and their maps.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;

use crate::{namespace, process};

/// A range of ids: first inside, first outside, how many.
pub type Range = (u32, u32, u32);

/// The text of a map file, as user_namespaces(7) has it.
fn text(map: &[Range]) -> String {
    map.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect()
}

/// Writes the maps of the user namespace in which the child `pid` was made. The child must not have
/// been reaped.
///
/// # Errors
/// Those of the kernel for maps that overlap, or that the caller may not set.
pub fn write_maps(pid: i32, uids: &[Range], gids: &[Range]) -> io::Result<()> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    for (file, map) in [("uid_map", uids), ("gid_map", gids)] {
        // The kernel takes a map in a single write only.
        File::options().write(true).open(proc.join(file))?.write_all(text(map).as_bytes())?;
    }
    Ok(())
}

/// A user namespace with namespaces that belong to it: they last as long as their descriptors.
#[derive(Debug)]
pub struct Owner {
    /// The user namespace.
    pub user: OwnedFd,
    /// The others, in the order in which they were asked for.
    pub owned: Vec<OwnedFd>,
}

/// A setting that the root of a user namespace writes: an absolute path, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The file, which the caller sees.
    pub path: CString,
    /// Its content.
    pub value: Vec<u8>,
}

/// Why there are no namespaces.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// A setting could not be written.
    #[error("write {0:?}")]
    Setting(CString, #[source] io::Error),
    /// They could not be made.
    #[error("make a user namespace")]
    Make(#[from] io::Error),
}

/// A user namespace with these maps and no process in it, as idmapped mounts want it.
///
/// # Errors
/// Those of clone3(2) and [`write_maps`].
pub fn namespace(uids: &[Range], gids: &[Range]) -> io::Result<OwnedFd> {
    match owner(uids, gids, &[], &[]) {
        Ok(made) => Ok(made.user),
        Err(OwnerError::Make(error) | OwnerError::Setting(_, error)) => Err(error),
    }
}

/// A user namespace with these maps that owns new namespaces of the given kinds (`CLONE_NEW*`: network, IPC, UTS), made by
/// its root, so that what is in them is root's too. No process is in any of them. That root writes `settings`: some of an IPC
/// namespace nobody else may.
///
/// # Errors
/// Those of clone3(2), [`write_maps`] and unshare(2); [`OwnerError::Setting`].
pub fn owner(
    uids: &[Range],
    gids: &[Range],
    kinds: &[u64],
    settings: &[Setting],
) -> Result<Owner, OwnerError> {
    let (ours, theirs) = UnixStream::pair()?;
    let wanted = kinds.iter().fold(0, |all, kind| all | kind);
    let number = theirs.as_raw_fd().cast_unsigned();
    let child = process::fork(namespace::USER, None, || stay(number, &theirs, wanted, settings));
    let child = child.map_err(io::Error::from)?;
    drop(theirs);
    let made = made(&ours, child.pid, (uids, gids), kinds, settings);
    // The child lives until its socket is closed.
    drop(ours);
    let _ = process::reap(child.pidfd.as_fd());
    made
}

fn made(
    mut ours: &UnixStream,
    pid: i32,
    (uids, gids): (&[Range], &[Range]),
    kinds: &[u64],
    settings: &[Setting],
) -> Result<Owner, OwnerError> {
    write_maps(pid, uids, gids)?;
    ours.write_all(&[0])?;
    let mut answer = Answer::default();
    ours.read_exact(&mut answer)?;
    let ([at @ .., _, _, _, _], [_, _, _, _, errno @ ..]) = (answer, answer);
    let failed = || io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
    match usize::try_from(i32::from_ne_bytes(at)).ok().and_then(|at| settings.get(at)) {
        Some(setting) => return Err(OwnerError::Setting(setting.path.clone(), failed())),
        None if errno != [0; 4] => return Err(failed().into()),
        None => {}
    }
    let open = |kind| Ok::<OwnedFd, io::Error>(File::open(format!("/proc/{pid}/ns/{}", file(kind)?))?.into());
    Ok(Owner {
        user: open(namespace::USER)?,
        owned: kinds.iter().copied().map(open).collect::<io::Result<_>>()?,
    })
}

/// What the child says: the number of a setting that failed, or -1, and an errno or 0.
type Answer = [u8; 8];

fn answer(at: i32, outcome: Result<(), Errno>) -> Answer {
    let (at, errno) = (at.to_ne_bytes(), outcome.err().map_or(0, Errno::raw_os_error).to_ne_bytes());
    [at[0], at[1], at[2], at[3], errno[0], errno[1], errno[2], errno[3]]
}

/// The file of a kind of namespace.
fn file(kind: u64) -> io::Result<&'static str> {
    match kind {
        namespace::USER => Ok("user"),
        namespace::NET => Ok("net"),
        namespace::IPC => Ok("ipc"),
        namespace::UTS => Ok("uts"),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Child: makes the namespaces when there are maps, says how that went, and stays until its maker has opened them. It
/// neither allocates nor locks.
fn stay(number: u32, socket: &UnixStream, wanted: u64, settings: &[Setting]) -> i32 {
    let below = number.checked_sub(1).map_or(Ok(()), |last| process::close_range(0, last));
    let alone = below.and_then(|()| process::close_range(number + 1, u32::MAX));
    let mut byte = [0];
    if alone.is_err() || rustix::io::read(socket, &mut byte) != Ok(1) {
        return 1;
    }
    let make = || {
        become_root()?;
        // Another user made it as dumpable as fs.suid_dumpable says.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        namespace::unshare(wanted)
    };
    let made = if wanted == 0 { Ok(()) } else { make() };
    let done = match made {
        Ok(()) => write_all(settings),
        failed => answer(-1, failed),
    };
    let _ = rustix::io::write(socket, &done);
    let _ = rustix::io::read(socket, &mut byte);
    0
}

/// Child: writes the settings, up to the first that fails.
fn write_all(settings: &[Setting]) -> Answer {
    let write = |setting: &Setting| {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(setting.path.as_c_str(), flags, Mode::empty())?;
        if rustix::io::write(file, &setting.value)? == setting.value.len() { Ok(()) } else { Err(Errno::IO) }
    };
    let failed = (0..).zip(settings).find_map(|(at, setting)| Some((at, write(setting).err()?)));
    failed.map_or(answer(-1, Ok(())), |(at, errno)| answer(at, Err(errno)))
}

/// Makes the calling thread root of the user namespace that it has entered, where it has the overflow ids. A child may
/// call it.
///
/// # Errors
/// Those of setresuid(2): EINVAL where 0 is not mapped.
pub fn become_root() -> Result<(), Errno> {
    let (uid, gid) = (Some(rustix::process::Uid::ROOT), Some(rustix::process::Gid::ROOT));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// The maps of user ids and of group ids of the process `pid`, as the caller's user namespace has them outside.
///
/// # Errors
/// Those of reading `/proc/PID/uid_map` and `gid_map`.
pub fn maps(pid: u32) -> io::Result<(Vec<Range>, Vec<Range>)> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).map(|text| parse(&text));
    Ok((read("uid_map")?, read("gid_map")?))
}

/// The ranges in the text of a map file; lines of another form are passed over.
fn parse(text: &str) -> Vec<Range> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// What the id `inside` is outside; None where it is not mapped.
pub fn outside(map: &[Range], inside: u32) -> Option<u32> {
    map.iter().find_map(|(first, outside, count)| {
        let offset = inside.checked_sub(*first).filter(|offset| offset < count)?;
        outside.checked_add(offset)
    })
}

#[cfg(test)]
mod tests;
