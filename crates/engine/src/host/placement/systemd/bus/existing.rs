//! A unit that is there already under the name of one that is to be started. Pure.

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// It is what was wanted: a call whose answer was lost has made it.
    Wanted,
    /// It has ended, and is removed for the new one.
    Over,
    /// It becomes one or the other.
    Changing,
}

impl Existing {
    /// By its state (`ActiveState` of org.freedesktop.systemd1(5)); None when systemd does not know it any more.
    pub(super) fn of(state: Option<&str>) -> Self {
        match state {
            Some("active") => Self::Wanted,
            None | Some("inactive" | "failed") => Self::Over,
            // activating, deactivating, reloading, and what is added to them.
            Some(_) => Self::Changing,
        }
    }
}
