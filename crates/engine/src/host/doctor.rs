//! Leak accounting: what the records say against what the kernel and the disk have.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_net::Inventory;
use berth_types::lifecycle::sandbox::State;
use berth_types::{ContainerId, SandboxId};

use crate::host::{local, shims};
use crate::model::{ContainerView, NamespaceMode, Network, SandboxView};
use crate::shared::Shared;
use crate::status::{Finding, Thing};

/// The time for what follows the removal of a pod: the kernel's of its interfaces, and its caller's of its volumes.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// What the records say.
struct Known {
    sandboxes: HashSet<SandboxId>,
    containers: HashSet<ContainerId>,
    views: Vec<Arc<SandboxView>>,
}

/// Looks at everything. Pods that are being made or removed at the same time are known and not inspected.
pub(crate) async fn examine(shared: &Arc<Shared>) -> Vec<Finding> {
    let shared = Arc::clone(shared);
    let looked = tokio::task::spawn_blocking(move || {
        // The host's state is read before the known pods, so that what was made in between is known.
        let checks = shared.handlers.checks();
        let host = HostState::read(&shared);
        let views = shared.views.sandboxes(None);
        let containers: Vec<Arc<ContainerView>> = shared.views.containers(None);
        let mut known = Known {
            sandboxes: shared.pods.ids().into_iter().chain(checks).chain(shared.handlers.checks()).collect(),
            containers: containers.iter().map(|c| c.id.clone()).collect(),
            views,
        };
        let mut findings = host.left_alone(&shared, &mut known);
        findings.extend(host.orphans(&shared, &known));
        findings.extend(lacking(&shared, &known));
        let stray = |name: String| Finding {
            thing: Thing::Network,
            name,
            explanation: "a table of rules of services that are gone".to_owned(),
            remedy: "restart the daemon: it removes orphans".to_owned(),
        };
        findings.extend(shared.networks.stray_services().into_iter().map(stray));
        let of_store = |explanation: String, remedy: &str| Finding {
            thing: Thing::File,
            name: shared.images.dir().display().to_string(),
            explanation,
            remedy: remedy.to_owned(),
        };
        let again = "remove the image and pull it again";
        findings.extend(shared.images.damaged().into_iter().map(|what| of_store(what, again)));
        let stays = "its container is not affected; it is removed with the container";
        findings.extend(shared.images.unreadable_snapshots().into_iter().map(|what| of_store(what, stays)));
        findings.sort_by(|a, b| (a.thing, &a.name).cmp(&(b.thing, &b.name)));
        findings
    });
    looked.await.unwrap_or_default()
}

/// What exists on the host.
struct HostState {
    mounts: Vec<PathBuf>,
    pod_dirs: Vec<(PathBuf, Option<SandboxId>)>,
    cgroups: Vec<(PathBuf, String)>,
    shims: Vec<(i32, SandboxId)>,
    leases: Vec<SandboxId>,
    interfaces: Vec<String>,
    snapshots: Vec<ContainerId>,
}

impl HostState {
    fn read(shared: &Shared) -> Self {
        let inventory = inventory(shared);
        Self {
            mounts: mounts_below(&shared.layout.state),
            pod_dirs: [shared.layout.pods(), shared.layout.sandboxes()]
                .iter()
                .flat_map(|dir| entries(dir))
                .map(|(path, name)| (path, name.parse().ok()))
                .collect(),
            cgroups: cgroups(shared),
            shims: shims::all(shared)
                .into_iter()
                .flatten()
                .map(|(pid, id)| (pid.as_raw_nonzero().get(), id))
                .collect(),
            leases: inventory.sandboxes,
            interfaces: inventory.orphans,
            snapshots: shared.images.snapshots(),
        }
    }

    /// Running pods without a readable record. What they have is not an orphan.
    fn left_alone(&self, shared: &Shared, known: &mut Known) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (pid, id) in self.shims.iter().filter(|(_, id)| !known.sandboxes.contains(id)) {
            let dir = shared.layout.found(id);
            if dir.all().iter().all(|dir| !dir.exists()) {
                continue;
            }
            findings.push(Finding {
                thing: Thing::Pod,
                name: id.to_string(),
                explanation: format!("it is running, but its record cannot be read: {}", dir.record().display()),
                remedy: format!(
                    "restart the daemon if the record can be read again; to end the pod, kill its shim (process {pid}) first"
                ),
            });
            let containers = entries(&dir.containers()).filter_map(|(_, name)| name.parse().ok());
            known.containers.extend(containers);
        }
        known.sandboxes.extend(findings.iter().filter_map(|finding| finding.name.parse().ok()));
        findings
    }

    /// What belongs to no pod.
    fn orphans(&self, shared: &Shared, known: &Known) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut add = |thing, name: String, explanation: &str, remedy: &str| {
            findings.push(Finding {
                thing,
                name,
                explanation: explanation.to_owned(),
                remedy: remedy.to_owned(),
            });
        };
        let restart = "restart the daemon: it removes orphans";
        let of_none = self.mounts.iter().filter(|mount| {
            let owner = pod_of(&shared.layout.pods(), mount);
            owner.as_ref().is_none_or(|id| !known.sandboxes.contains(id))
        });
        let local = local::orphans(shared);
        for mount in of_none.chain(&local) {
            let name = mount.display().to_string();
            add(Thing::Mount, name.clone(), "mounted for an unknown pod", &format!("umount {name}"));
        }
        for (path, id) in &self.pod_dirs {
            if id.as_ref().is_none_or(|id| !known.sandboxes.contains(id)) {
                let why = "the directory of an unknown pod; its record may be damaged";
                add(Thing::File, path.display().to_string(), why, "inspect it, then remove it");
            }
        }
        for (path, name) in &self.cgroups {
            let sandbox = shared.roots.pod_of(name).is_some_and(|id| known.sandboxes.contains(&id));
            if !sandbox && !shared.roots.is_shared(name) {
                add(Thing::Cgroup, path.display().to_string(), "the cgroup of an unknown pod", restart);
            }
        }
        for (pid, id) in &self.shims {
            if !known.sandboxes.contains(id) {
                let why = format!("the shim of an unknown pod, {}", id.short());
                add(Thing::Process, pid.to_string(), &why, restart);
            }
        }
        for id in self.leases.iter().filter(|id| !known.sandboxes.contains(*id)) {
            add(Thing::Address, id.to_string(), "addresses are leased to an unknown pod", restart);
        }
        for name in &self.interfaces {
            let remedy = format!("ip link delete {name}");
            add(Thing::Network, name.clone(), "an interface on the bridge without a pod", &remedy);
        }
        for id in self.snapshots.iter().filter(|id| !known.containers.contains(*id)) {
            // One that is being made or removed has its directory in its pod.
            if !being_made(shared, id) {
                add(Thing::Snapshot, id.to_string(), "the layer of an unknown container", restart);
            }
        }
        findings
    }
}

/// What the networks have. The kernel removes the interfaces of a removed pod in the background, so those without a
/// pod are checked until they are removed or the time is over.
fn inventory(shared: &Shared) -> Inventory {
    let deadline = Instant::now() + DRAIN;
    loop {
        let inventory = shared.networks.inventory().unwrap_or_default();
        if inventory.orphans.is_empty() || Instant::now() >= deadline {
            return inventory;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn being_made(shared: &Shared, id: &ContainerId) -> bool {
    shared.pods.ids().iter().any(|pod| shared.layout.found(pod).container(id).exists())
}

/// Pods that lack something of theirs.
fn lacking(shared: &Shared, known: &Known) -> Vec<Finding> {
    let mounted: HashSet<PathBuf> = mounts_below(&shared.layout.state).into_iter().collect();
    let mut findings = Vec::new();
    for view in &known.views {
        let mut add = |explanation: String, remedy: &str| {
            findings.push(Finding {
                thing: Thing::Pod,
                name: view.id.to_string(),
                explanation,
                remedy: remedy.to_owned(),
            });
        };
        let dir = shared.layout.found(&view.id);
        if !view.message.is_empty() {
            add(view.message.clone(), "stop and remove the pod");
        }
        // A pod that was stopped since the state was read no longer has these.
        if view.state != State::Ready
            || shared.views.sandbox(view.id.as_str()).is_ok_and(|now| now.state != State::Ready)
        {
            continue;
        }
        if view.config.namespaces.network != Network::Host && !mounted.contains(&dir.netns()) {
            add("its network namespace is not mounted".to_owned(), "stop and remove the pod");
        }
        if let Err(error) = shared.networks.examine(&view.config, &view.id) {
            add(berth_types::error::chain(&error), "stop and remove the pod");
        }
        if view.config.namespaces.ipc == NamespaceMode::Pod && !mounted.contains(&dir.shm()) {
            add("its /dev/shm is not mounted".to_owned(), "stop and remove the pod");
        }
    }
    findings
}

/// The pod in whose directory a path lies.
fn pod_of(pods: &Path, path: &Path) -> Option<SandboxId> {
    path.strip_prefix(pods).ok()?.iter().next()?.to_str()?.parse().ok()
}

fn entries(dir: &Path) -> impl Iterator<Item = (PathBuf, String)> + use<> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
}

/// Mount points below a directory, of this process' mount namespace. One at the directory itself belongs to
/// the operator.
pub(crate) fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let mounts = berth_sys::mount::mounted().unwrap_or_default().into_iter().map(|mount| mount.point);
    mounts.filter(|point| point.starts_with(dir) && point != dir).collect()
}

/// The children of the instance's cgroups in every hierarchy, and pods' scopes in other slices.
fn cgroups(shared: &Shared) -> Vec<(PathBuf, String)> {
    let dirs = shared.roots.all().into_iter().flat_map(|root| shared.cgroups.open(&root).dirs());
    let dirs: Vec<PathBuf> = dirs.collect();
    let children = dirs.iter().flat_map(|dir| entries(dir));
    let scopes = shared.roots.scopes(&shared.cgroups).into_iter().flat_map(|(group, _)| {
        let name = group.as_str().rsplit('/').next().unwrap_or_default().to_owned();
        shared.cgroups.open(&group).dirs().into_iter().map(move |dir| (dir, name.clone()))
    });
    let pods = scopes.filter(|(_, name)| shared.roots.pod_of(name).is_some());
    let all: BTreeSet<_> = children.chain(pods).filter(|(path, _)| path.is_dir()).collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_of_a_path_is_its_directory() {
        let id = "a".repeat(64);
        let pods = Path::new("/run/berth/pods");
        assert_eq!(pod_of(pods, &pods.join(&id).join("shm")).map(String::from), Some(id));
        assert_eq!(pod_of(pods, Path::new("/run/berth/other")), None);
    }
}
