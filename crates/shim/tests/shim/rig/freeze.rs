//! Stopping everything in a container's group, as a mount or disk does that does not answer.

use std::path::PathBuf;

use berth_sys::cgroup::Cgroup;

use super::until;

/// The group's file for it, and what is written there.
fn freezer(group: &Cgroup, frozen: bool) -> Option<(PathBuf, &'static str)> {
    let words = if frozen {
        [("cgroup.freeze", "1"), ("freezer.state", "FROZEN")]
    } else {
        [("cgroup.freeze", "0"), ("freezer.state", "THAWED")]
    };
    let dirs = group.dirs();
    let files = words.into_iter().flat_map(|(name, word)| dirs.iter().map(move |dir| (dir.join(name), word)));
    files.into_iter().find(|(file, _)| file.exists())
}

/// Freezes the group or lets it go on, and waits until the kernel says so.
pub(crate) fn freeze(group: &Cgroup, frozen: bool) {
    let (file, word) = freezer(group, frozen).unwrap();
    let events = file.with_file_name("cgroup.events");
    until("the group is frozen, or goes on", || {
        // Written each time: in the first version a process that was just forking is taken along by the next write.
        std::fs::write(&file, word).unwrap();
        let state = std::fs::read_to_string(if events.exists() { &events } else { &file }).unwrap();
        let line = if events.exists() { format!("frozen {word}") } else { word.to_owned() };
        state.lines().any(|l| l == line)
    });
}

/// Lets the group go on if it is still there.
pub(crate) fn unfreeze_if_there(group: &Cgroup) {
    if let Some((file, word)) = freezer(group, false) {
        drop(std::fs::write(file, word));
    }
}
