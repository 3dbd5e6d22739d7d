//! Who a container's process runs as, from the configuration, the image's `USER`, and the image's
//! own `/etc/passwd` and `/etc/group`. Those files are untrusted: every line that is not of
//! the right form is skipped, and numbers are bounded.

use crate::error::EngineError;
use crate::model::{ContainerSecurity, GroupsPolicy, User};

/// Who a container's process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The primary group and the supplementary ones, sorted but for the first.
    pub(crate) groups: Vec<u32>,
    /// The home directory of the user, `/` when unknown.
    pub(crate) home: String,
}

/// The largest id: the one after it means "no id" to the kernel, and ids over 31 bits are negative to some
/// programs.
pub(crate) const MAX_ID: u32 = i32::MAX as u32;

/// The image's files; empty when it has none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Files<'a> {
    pub(crate) passwd: &'a str,
    pub(crate) group: &'a str,
}

/// The user of a container's main process.
pub(crate) fn resolve(
    security: &ContainerSecurity,
    image_user: &str,
    files: Files<'_>,
) -> Result<Resolved, EngineError> {
    let asked = match (&security.user, security.group) {
        (None, Some(_)) => {
            let message = "a group needs a user: set run_as_user or run_as_username too";
            return Err(EngineError::invalid("run_as_group", message));
        }
        (None, None) => image_user.to_owned(),
        (Some(user), group) => {
            let user = match user {
                User::Id(id) => id.to_string(),
                User::Name(name) => name.clone(),
            };
            match group {
                Some(group) => format!("{user}:{group}"),
                None => user,
            }
        }
    };
    resolve_text(&asked, &security.supplemental_groups, security.groups_policy, files)
}

/// The user that `user[:group]` names, each by number or by name.
pub(crate) fn resolve_text(
    text: &str,
    supplemental: &[u32],
    policy: GroupsPolicy,
    files: Files<'_>,
) -> Result<Resolved, EngineError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = match number(user)? {
        Some(uid) => passwd(files.passwd).find(|entry| entry.uid == uid).unwrap_or(Entry {
            name: "",
            uid,
            gid: 0,
            home: "/",
        }),
        None => passwd(files.passwd).find(|entry| entry.name == user).ok_or_else(|| {
            EngineError::invalid("user", format!("{user:?} is not in the image's /etc/passwd"))
        })?,
    };
    let gid = match group {
        None => entry.gid,
        Some(group) => match number(group)? {
            Some(gid) => gid,
            None => groups(files.group).find(|(name, ..)| *name == group).map(|(_, gid, _)| gid).ok_or_else(
                || EngineError::invalid("group", format!("{group:?} is not in the image's /etc/group")),
            )?,
        },
    };
    let mut further: Vec<u32> = supplemental.to_vec();
    if policy == GroupsPolicy::Merge && !entry.name.is_empty() {
        let member = |members: &str| members.split(',').any(|member| member == entry.name);
        further.extend(groups(files.group).filter(|(_, _, m)| member(m)).map(|(_, gid, _)| gid));
    }
    further.sort_unstable();
    further.dedup();
    further.retain(|id| *id != gid);
    let home = if entry.home.starts_with('/') { entry.home } else { "/" };
    Ok(Resolved { uid: entry.uid, gid, groups: [vec![gid], further].concat(), home: home.to_owned() })
}

/// The id that `text` is; None when it is a name. A plus sign before the digits is read as other runtimes read
/// it: an image that one of them runs as user 1000 must not run as another user here.
fn number(text: &str) -> Result<Option<u32>, EngineError> {
    let text = text.strip_prefix('+').filter(|digits| !digits.is_empty()).unwrap_or(text);
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        Ok(_) | Err(_) => {
            Err(EngineError::invalid("user", format!("the id {text} is over the limit of {MAX_ID}")))
        }
    }
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

/// `name:password:uid:gid:gecos:home:shell`
fn passwd(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _) = (fields.next()?, fields.next()?);
        let (uid, gid) = (id(fields.next()?)?, id(fields.next()?)?);
        let home = fields.nth(1).unwrap_or("/");
        (!name.is_empty()).then_some(Entry { name, uid, gid, home })
    })
}

/// `name:password:gid:member,member`
fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _) = (fields.next()?, fields.next()?);
        Some((name, id(fields.next()?)?, fields.next().unwrap_or("")))
    })
}

#[cfg(test)]
#[path = "user/tests.rs"]
mod tests;
