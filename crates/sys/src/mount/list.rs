//! The mounts of this process' namespace, as the kernel lists them (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// The mount's id.
    pub id: u64,
    /// `major:minor` of the file system: the same for all mounts of one.
    pub device: String,
    /// What of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// Later mounts below it are given to its peers.
    pub shared: bool,
    /// Later mounts are taken from a master.
    pub slave: bool,
    /// The file system's type.
    pub kind: String,
    /// What it says that it is of.
    pub source: String,
    /// The options of the file system as a whole.
    pub options: String,
}

/// All of them, in the kernel's order.
///
/// # Errors
/// Those of reading `/proc/self/mountinfo`.
pub fn mounted() -> io::Result<Vec<Mounted>> {
    Ok(parse_mountinfo(&std::fs::read("/proc/self/mountinfo")?))
}

/// The mounts in the text of `mountinfo`, in which a path may have any bytes. Lines of another form are passed over.
pub fn parse_mountinfo(text: &[u8]) -> Vec<Mounted> {
    text.split(|byte| *byte == b'\n').filter_map(parse).collect()
}

fn parse(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = words(fields.next()?).parse().ok()?;
    let device = words(fields.nth(1)?);
    let (root, point) = (path(fields.next()?), path(fields.next()?));
    let (mut shared, mut slave) = (false, false);
    // Behind the options of the mount itself: any number of tags, and a dash that ends them.
    for tag in fields.by_ref().skip(1).take_while(|field| *field != b"-") {
        shared |= tag.starts_with(b"shared:");
        slave |= tag.starts_with(b"master:");
    }
    let (kind, source, options) = (words(fields.next()?), words(fields.next()?), words(fields.next()?));
    Some(Mounted { id, device, root, point, shared, slave, kind, source, options })
}

fn words(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

/// Space, tab, newline and backslash are written as `\ooo`.
fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| *first == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests;
