//! What belongs to the machine rather than to one pod: its facts, its clock, where things lie and how they are
//! written, shims as processes, the network's repair, and orphans.

pub(crate) mod apparmor;
pub(crate) mod async_fd;
pub(crate) mod clock;
pub(crate) mod doctor;
pub(crate) mod facts;
pub(crate) mod helper;
pub(crate) mod layout;
pub(crate) mod local;
pub(crate) mod network_repair;
pub(crate) mod networks;
pub(crate) mod placement;
pub(crate) mod purge;
pub(crate) mod random;
pub(crate) mod record;
pub(crate) mod shims;
pub(crate) mod stages;
