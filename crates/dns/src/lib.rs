//! The DNS server of local services ([ADR 0100](../../../docs/adr/0100-services.md)).
//!
//! ```text
//! packet -> message (parsed: one question, EDNS) -> zone (pure: names of services) -> answer
//!                                                -> upstream (the host's resolvers) for all other names
//! ```
//! What comes in is hostile: nothing is read past its end, every name and message has a limit, and a client that is none
//! of the pods gets no answer at all.

#![forbid(unsafe_code)]

pub mod message;
pub mod name;
pub mod server;
pub mod upstream;
pub mod zone;

pub use name::{Name, NameError};
pub use server::{Block, Server, ServerConfig};
pub use upstream::ResolvFiles;
pub use zone::{Data, Zone};
