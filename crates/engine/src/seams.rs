//! What can be replaced in an engine: handlers, the placement of cgroups, plugins that
//! change specifications. Networks are chosen by [`EngineConfig`](crate::EngineConfig). See docs/adr/0085.

use std::sync::Arc;

pub use crate::container::adjust::{Adjust, Adjustable, Adjusted, Heard, Limits, Moment, Subject, What};
pub use crate::handler::{
    ForeignShim, Gvisor, Handler, Kernel, Kind, NATIVE, OciRuntime, Places, Prepared, Preparing, Program,
    Runtimes,
};
pub use crate::host::placement::{Cgroupfs, Driver, Placement, PodCgroups, Slice};

/// The replaceable parts of an engine. The default is what it brings along.
#[derive(Debug, Clone, Default)]
pub struct Seams {
    /// Handlers beside `native`, by the names they give themselves.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// Makes the handlers of runtimes that are found on the machine; None is as their kind says.
    pub runtimes: Option<Arc<dyn Runtimes>>,
    /// Where and by whom cgroups are made; None is as [`EngineConfig`](crate::EngineConfig) says.
    pub placement: Option<Arc<dyn Placement>>,
    /// Asked in this order.
    pub adjust: Vec<Arc<dyn Adjust>>,
    /// Told what is counted.
    pub observe: Option<Arc<dyn Observe>>,
}

/// Counts what happens. It is told in the middle of the work, and must not wait for anything.
pub trait Observe: std::fmt::Debug + Send + Sync {
    /// A pull has ended, by failing in this way. One for which nobody waits any more is told as cancelled, though it goes on.
    fn pulled(&self, failed: Option<berth_types::Kind>, took: std::time::Duration);

    /// A pod lost its shim, and with it its containers.
    fn lost_shim(&self);

    /// A container has ended.
    fn ended(&self, reason: crate::model::ExitReason);
}
