//! Services of local pods, as their network knows them.

pub use berth_net::services::MAX_TARGETS;
pub use berth_net::{
    AttachError, Balanced, Front, NetError, PortMapping, Protocol, ServiceError, ServiceNetwork, Services,
};
