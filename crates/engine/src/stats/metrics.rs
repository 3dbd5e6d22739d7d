//! The numbers for metrics: samples, and what is read only for them, when they are asked for.

use std::collections::HashMap;
use std::sync::Arc;

use berth_sys::cgroup::{CgroupPath, Details, Reader};
use berth_sys::process::{OpenFiles, open_files};
use berth_sys::rlimit;
use berth_types::ContainerId;

use super::{ContainerStats, PodStats};
use crate::Engine;
use crate::error::EngineError;
use crate::model::SandboxView;
use crate::shared::Shared;

/// The most processes of a container, and the most open files of all of them, that are looked at one by one. A
/// container with more has no number of open files.
const MOST_PROCESSES: usize = 1024;
const MOST_FILES: u64 = 1 << 16;

/// The numbers for metrics of pods.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Each pod that is ready.
    pub pods: Vec<PodMetrics>,
    /// The file system that the writable layers are in.
    pub filesystem: Filesystem,
    /// The names of the block devices that were used, by their numbers, as `/dev/NAME`.
    pub devices: HashMap<(u32, u32), String>,
}

/// The numbers of one pod.
#[derive(Debug)]
pub struct PodMetrics {
    /// What lists of statistics show.
    pub stats: PodStats,
    /// More of the group that its containers are in.
    pub details: Details,
    /// More of its containers that run.
    pub containers: HashMap<ContainerId, ContainerMetrics>,
}

/// The numbers of one container beside its statistics.
#[derive(Debug, Clone, Default)]
pub struct ContainerMetrics {
    /// More of its group.
    pub details: Details,
    /// Its processes.
    pub processes: u64,
    /// What they have open; None when there are too many to count.
    pub open: Option<OpenFiles>,
    /// The limit of open files that its main process has; `u64::MAX` is none.
    pub open_files_limit: Option<u64>,
}

/// A file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Its device as `/dev/NAME`, or its numbers where it has no name.
    pub device: String,
    /// Bytes.
    pub size: u64,
    /// Files that it may have.
    pub inodes: u64,
    /// Files that may be added.
    pub free_inodes: u64,
}

impl Engine {
    /// The numbers for metrics of those of `sandboxes` that are ready. What cannot be read of one is left out, and
    /// hides nothing of the others.
    ///
    /// # Errors
    /// Nothing at all can be read.
    pub async fn metrics(&self, sandboxes: Vec<Arc<SandboxView>>) -> Result<Metrics, EngineError> {
        let stats = self.pod_stats(sandboxes).await?;
        let (shared, dir) = (Arc::clone(&self.shared), self.images().dir().to_owned());
        Shared::blocking(move || {
            let mut reader = Reader::default();
            let pods: Vec<_> = stats.into_iter().map(|pod| of_pod(&shared, pod, &mut reader)).collect();
            let devices = devices(&pods);
            Ok(Metrics { pods, filesystem: filesystem(&dir), devices })
        })
        .await
    }
}

fn of_pod(shared: &Shared, stats: PodStats, reader: &mut Reader) -> PodMetrics {
    let details = details(shared, &stats.sandbox.cgroup, reader);
    let of = |container: &ContainerStats| {
        (container.container.id.clone(), of_container(shared, container, &mut *reader))
    };
    let containers = stats.containers.iter().map(of).collect();
    PodMetrics { stats, details, containers }
}

/// Of a group that is gone there are none, and of a container without one.
fn details(shared: &Shared, cgroup: &str, reader: &mut Reader) -> Details {
    if cgroup.is_empty() {
        return Details::default();
    }
    let read = CgroupPath::new(cgroup).and_then(|path| shared.cgroups.open(&path).details(reader));
    read.unwrap_or_else(|error| {
        let error = berth_types::error::chain(&error);
        tracing::debug!(cgroup, error, "failed to read metrics");
        Details::default()
    })
}

fn of_container(shared: &Shared, stats: &ContainerStats, reader: &mut Reader) -> ContainerMetrics {
    let view = &stats.container;
    let group = CgroupPath::new(&view.cgroup).map(|path| shared.cgroups.open(&path));
    let pids = group.and_then(|group| group.pids()).unwrap_or_default();
    let numbers: Vec<i32> = pids.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    let limit = |pid| rlimit::get(pid, rlimit::NOFILE).ok();
    ContainerMetrics {
        details: details(shared, &view.cgroup, reader),
        processes: numbers.len() as u64,
        open: open(&numbers),
        open_files_limit: view.pid.and_then(limit).map(|limit| limit.soft),
    }
}

fn open(pids: &[i32]) -> Option<OpenFiles> {
    if pids.len() > MOST_PROCESSES {
        return None;
    }
    let mut all = OpenFiles::default();
    for pid in pids {
        // One that has ended has nothing open.
        if let Ok(read) = open_files(*pid, MOST_FILES - all.files) {
            let OpenFiles { files, sockets } = read?;
            all = OpenFiles { files: all.files + files, sockets: all.sockets + sockets };
        }
    }
    Some(all)
}

fn devices(pods: &[PodMetrics]) -> HashMap<(u32, u32), String> {
    let containers = pods.iter().flat_map(|pod| pod.containers.values()).map(|container| &container.details);
    let all = containers.chain(pods.iter().map(|pod| &pod.details)).flat_map(|details| &details.io);
    let mut names = HashMap::new();
    for io in all {
        names.entry((io.major, io.minor)).or_insert_with(|| device_name(io.major, io.minor));
    }
    names
}

/// `/dev/NAME` by the link that the kernel keeps for each block device.
fn device_name(major: u32, minor: u32) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link.ok().and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
    name.map_or_else(|| format!("{major}:{minor}"), |name| format!("/dev/{name}"))
}

fn filesystem(dir: &std::path::Path) -> Filesystem {
    let device = rustix::fs::stat(dir).map(|stat| stat.st_dev).unwrap_or(0);
    let device = device_name(rustix::fs::major(device), rustix::fs::minor(device));
    match rustix::fs::statvfs(dir) {
        Ok(found) => Filesystem {
            device,
            size: found.f_blocks.saturating_mul(found.f_frsize),
            inodes: found.f_files,
            free_inodes: found.f_ffree,
        },
        Err(_) => Filesystem { device, ..Filesystem::default() },
    }
}
