//! Pod networks.
//!
//! [`Builtin`] is the bridge network that Berth brings along: one bridge per instance, an IPv4 and
//! (where the host has it) an IPv6 address per pod, masquerading, host ports. It works in process,
//! by netlink alone: no program is started and no rule is added for a pod, only elements of maps.
//!
//! [`Cni`] calls the plugins of the Container Network Interface. [`Loopback`] is no network. The engine holds any of them as a
//! [`PodNetwork`].
//!
//! The rest of the crate is pure text and rules: [`resolv`], [`hosts`] and [`hostname`] for the
//! files of a pod, [`config`] and [`port`] for what is asked for.

#![forbid(unsafe_code)]

pub mod builtin;
pub mod cidr;
pub mod cni;
pub mod config;
pub mod error;
pub mod hostname;
pub mod hosts;
mod loopback;
pub mod network;
pub mod port;
pub mod resolv;
pub mod services;

pub use builtin::{Attachment, Builtin, Lease, Swept};
pub use cidr::{Cidr, Cidr4, Cidr6, ParseCidrError};
pub use cni::{Cni, CniConfig, CniError, CniLimits, Garbage, PluginError};
pub use config::{Config, Ipv6};
pub use error::{AttachError, DetachError, NetError, OpenError, ServiceError, SweepError};
pub use loopback::Loopback;
pub use network::{AttachRequest, Attached, Changes, Inventory, NetworkStatus, PodNetwork};
pub use port::{PortMapping, Protocol};
pub use services::{Balanced, Front, ServiceNetwork, Services};
