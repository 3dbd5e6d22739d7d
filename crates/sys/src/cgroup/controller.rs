//! The controllers of the kernel, and sets of them.

use std::fmt;

/// A controller (v1: subsystem), by v1's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Accounting of processor time (a part of `cpu` on v2).
    Cpuacct,
    /// Placement on processors and memory nodes.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// The number of processes.
    Pids,
    /// Block devices; `io` on v2.
    Blkio,
    /// Which devices may be used (an eBPF program on v2).
    Devices,
    /// Freezing (built in on v2).
    Freezer,
    /// Huge pages.
    Hugetlb,
    /// RDMA.
    Rdma,
    /// Scalar resources.
    Misc,
    /// Classes of network traffic (v1 only).
    NetCls,
    /// Priorities of network traffic (v1 only).
    NetPrio,
    /// Performance counters (implicit on v2).
    PerfEvent,
}

impl Controller {
    /// Every controller that is known here.
    pub const EVERY: [Controller; 14] = [
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Memory,
        Controller::Pids,
        Controller::Blkio,
        Controller::Devices,
        Controller::Freezer,
        Controller::Hugetlb,
        Controller::Rdma,
        Controller::Misc,
        Controller::NetCls,
        Controller::NetPrio,
        Controller::PerfEvent,
    ];

    /// The name on v1, as in `/proc/cgroups`.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Blkio => "blkio",
            Controller::Devices => "devices",
            Controller::Freezer => "freezer",
            Controller::Hugetlb => "hugetlb",
            Controller::Rdma => "rdma",
            Controller::Misc => "misc",
            Controller::NetCls => "net_cls",
            Controller::NetPrio => "net_prio",
            Controller::PerfEvent => "perf_event",
        }
    }

    /// By the name of either version.
    pub fn parse(name: &str) -> Option<Controller> {
        if name == "io" {
            return Some(Controller::Blkio);
        }
        Self::EVERY.into_iter().find(|c| c.name() == name)
    }

    /// The name in `cgroup.controllers` and `cgroup.subtree_control`.
    pub fn v2_name(self) -> &'static str {
        if self == Controller::Blkio { "io" } else { self.name() }
    }
}

/// A set of controllers.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Controllers(u16);

impl Controllers {
    /// Nothing.
    pub const NONE: Controllers = Controllers(0);

    /// Those named in `names`; others that the kernel may have are ignored.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Controllers {
        names.into_iter().filter_map(Controller::parse).collect()
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, controller: Controller) -> Controllers {
        Controllers(self.0 | 1 << controller as u16)
    }

    /// Whether it is in the set.
    pub const fn has(self, controller: Controller) -> bool {
        self.0 & (1 << controller as u16) != 0
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Controllers) -> Controllers {
        Controllers(self.0 & other.0)
    }

    /// Those in this and not in the other.
    #[must_use]
    pub const fn without(self, other: Controllers) -> Controllers {
        Controllers(self.0 & !other.0)
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Controller> {
        Controller::EVERY.into_iter().filter(move |c| self.has(*c))
    }
}

impl FromIterator<Controller> for Controllers {
    fn from_iter<I: IntoIterator<Item = Controller>>(iter: I) -> Self {
        iter.into_iter().fold(Controllers::NONE, Controllers::with)
    }
}

impl fmt::Debug for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Controller::name)).finish()
    }
}
