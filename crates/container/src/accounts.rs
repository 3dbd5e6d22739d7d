//! Users and groups of an image: `/etc/passwd` and `/etc/group`, as an image has them.
//!
//! [`Accounts::read`] gets the files from an untrusted root; everything else is pure. A malformed
//! line is skipped, as every libc does. Names are resolved as runc and containerd do: the first
//! line whose name or number matches counts; a number needs no line, and has group 0 without one; with no group
//! asked for it is the user's own and all that list the user.
//!
//! This is done before there is a plan, which holds numbers only. The child could not: it may not allocate, and an
//! error would come after everything was mounted.

use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use berth_types::{Classify, Kind};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

/// The most bytes of each file.
pub const MAX_FILE: usize = 4 << 20;
/// The most supplementary groups (the kernel's own limit is 65536).
pub const MAX_GROUPS: usize = 1024;
/// The highest id, as runc has it.
pub const MAX_ID: u32 = i32::MAX.cast_unsigned();

/// The two files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    /// `/etc/passwd`
    pub passwd: Vec<u8>,
    /// `/etc/group`
    pub group: Vec<u8>,
}

/// A user that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The groups that list the user, unless a group was asked for.
    pub groups: Vec<u32>,
    /// The home directory; `/` when there is no entry.
    pub home: Vec<u8>,
    /// The user's name; empty when there is no entry.
    pub name: Vec<u8>,
}

/// Why a user or group of an image cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is no such user.
    #[error("the image has no user {0:?} in /etc/passwd")]
    NoUser(String),
    /// There is no such group.
    #[error("the image has no group {0:?} in /etc/group")]
    NoGroup(String),
    /// The number is not an id.
    #[error("{0:?} is not an id: 0 to {MAX_ID}")]
    BadId(String),
    /// A user is in too many groups.
    #[error("user {0:?} is in more than {MAX_GROUPS} groups")]
    TooManyGroups(String),
    /// A file cannot be read, is not a regular file, or is too large.
    #[error("read {file} of the image")]
    Read {
        /// Which.
        file: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl Classify for AccountError {
    fn kind(&self) -> Kind {
        match self {
            AccountError::NoUser(_) | AccountError::NoGroup(_) => Kind::NotFound,
            AccountError::BadId(_) => Kind::Invalid,
            AccountError::TooManyGroups(_) => Kind::Exhausted,
            AccountError::Read { .. } => Kind::Corrupt,
        }
    }
}

/// A line of `/etc/passwd`.
struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|n| *n <= MAX_ID)
}

/// The lines, without comments and what carriage returns leave.
fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty() && l[0] != b'#')
}

fn users(file: &[u8]) -> impl Iterator<Item = User<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or(b"");
        (!name.is_empty()).then_some(())?;
        Some(User { name, uid: number(uid)?, gid: number(gid)?, home })
    })
}

fn groups(file: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        (!name.is_empty()).then_some(())?;
        Some(Group { name, gid: number(gid)?, members: fields.next().unwrap_or(b"") })
    })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Accounts {
    /// Reads both files within `root`, following links within it only. A missing file is empty.
    ///
    /// # Errors
    /// A file that is not regular or over [`MAX_FILE`] bytes.
    pub fn read(root: BorrowedFd<'_>) -> Result<Self, AccountError> {
        let read = |path, file| read_in(root, path).map_err(|source| AccountError::Read { file, source });
        Ok(Self { passwd: read(c"etc/passwd", "/etc/passwd")?, group: read(c"etc/group", "/etc/group")? })
    }

    /// Resolves `user`, `user:group`, `uid`, `uid:gid` and mixtures; empty is root. Without a group it
    /// is the one of the user's entry, and the user's further groups come along.
    ///
    /// # Errors
    /// A name without an entry, a number that is not an id.
    pub fn resolve(&self, text: &str) -> Result<Account, AccountError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
            None => (text, None),
        };
        let mut account = self.user(if user.is_empty() { "0" } else { user })?;
        match group {
            Some(group) => account.gid = self.group(group)?,
            None => account.groups = self.groups_of(&account.name)?,
        }
        Ok(account)
    }

    /// The user of this name or number, without further groups.
    ///
    /// # Errors
    /// See [`Self::resolve`].
    pub fn user(&self, text: &str) -> Result<Account, AccountError> {
        let wanted = id(text)?;
        let found =
            users(&self.passwd).find(|u| u.name == text.as_bytes() || wanted.is_some_and(|uid| u.uid == uid));
        match (found, wanted) {
            (Some(user), _) => Ok(Account {
                uid: user.uid,
                gid: user.gid,
                groups: Vec::new(),
                home: if user.home.is_empty() { b"/".to_vec() } else { user.home.to_vec() },
                name: user.name.to_vec(),
            }),
            (None, Some(uid)) => {
                Ok(Account { uid, gid: 0, groups: Vec::new(), home: b"/".to_vec(), name: Vec::new() })
            }
            (None, None) => Err(AccountError::NoUser(text.to_owned())),
        }
    }

    /// The id of the group of this name or number.
    ///
    /// # Errors
    /// See [`Self::resolve`].
    pub fn group(&self, text: &str) -> Result<u32, AccountError> {
        let wanted = id(text)?;
        let found = groups(&self.group)
            .find(|g| g.name == text.as_bytes() || wanted.is_some_and(|gid| g.gid == gid))
            .map(|g| g.gid);
        found.or(wanted).ok_or_else(|| AccountError::NoGroup(text.to_owned()))
    }

    /// The groups that list a user, in their order, each once.
    ///
    /// # Errors
    /// When there are more than [`MAX_GROUPS`].
    pub fn groups_of(&self, name: &[u8]) -> Result<Vec<u32>, AccountError> {
        let mut found = Vec::new();
        if name.is_empty() {
            return Ok(found);
        }
        for group in groups(&self.group) {
            let is_member = group.members.split(|b| *b == b',').any(|m| m.trim_ascii() == name);
            if is_member && !found.contains(&group.gid) {
                if found.len() == MAX_GROUPS {
                    return Err(AccountError::TooManyGroups(lossy(name)));
                }
                found.push(group.gid);
            }
        }
        Ok(found)
    }
}

/// The number, if it is one. One that is too high is not a name.
fn id(text: &str) -> Result<Option<u32>, AccountError> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return number(text.as_bytes()).map(Some).ok_or_else(|| AccountError::BadId(text.to_owned()));
    }
    Ok(None)
}

/// A regular file's bytes; nothing when there is none.
fn read_in(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> std::io::Result<Vec<u8>> {
    // First without opening: opening a device or a pipe may have effects or block.
    let found = match berth_sys::mount::open_in_root(root, path, OFlags::PATH, false) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let stat = rustix::fs::fstat(found.as_fd())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::other("not a regular file"));
    }
    let file = std::fs::File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
