//! Devices by the Container Device Interface, versions 0.3.0 to 1.1.0
//! (<https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>).
//!
//! ```text
//! name      vendor.com/class=device: how devices are asked for, by field and by annotation
//! spec      a file: what it says                      check   whether that may be said, in its version
//! devices   all files of some directories: which device is meant, and what it changes
//! ```
//!
//! Files are read when a container asks for a device, so that one that was just installed is there. What a file says is obeyed in the engine.

#![forbid(unsafe_code)]

mod check;
pub mod devices;
pub mod name;
pub mod spec;

pub use devices::{Devices, ResolveError};
pub use name::Name;
pub use spec::Edits;
