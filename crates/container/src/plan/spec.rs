//! From a runtime specification to a plan. Pure: nothing is read but the arguments.

use std::path::{Path, PathBuf};

use berth_sys::cgroup::{Cgroup, Hierarchy, Mode, Version};
use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};

use super::mounts::{bytes, id_maps};
use super::options::root_propagation;
use super::{IdMap, Namespaces, Plan, PlanError, Propagation, Root, RootSource, Seccomp, Space, Step};
use super::{devices, mounts, namespaces, process_of};

/// The most bytes of a specification.
pub const MAX_SPEC: usize = 4 << 20;

/// What a plan needs beside the specification.
#[derive(Debug, Clone, Default)]
pub struct Inputs<'a> {
    /// The directory that relative paths are relative to; without one they are refused.
    pub bundle: Option<&'a Path>,
    /// Whether the root comes as a descriptor. Otherwise it is the path of the specification.
    pub given_root: bool,
    /// The kinds of namespaces that come as descriptors: the pod's. The specification must ask for
    /// them; a path that it has there is not used.
    pub given: Vec<LinuxNamespaceType>,
    /// Sources of bind mounts that come as descriptors: mount or file by the number of its path here, which need not exist.
    pub given_mounts: Vec<PathBuf>,
    /// The compiled seccomp filter. Needed where the specification has `linux.seccomp`; what it was
    /// compiled from is up to the caller.
    pub seccomp: Option<Seccomp>,
    /// What a `cgroup` mount shows; see [`cgroup_mounts`].
    pub cgroups: Vec<CgroupMount>,
    /// The container's id maps, for `idmap` mounts without maps of their own. [`plan`] sets it.
    pub id_maps: Option<(Vec<IdMap>, Vec<IdMap>)>,
}

/// One directory of a cgroup mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMount {
    /// Its name in the mount; empty when it is the whole mount (cgroup v2).
    pub name: String,
    /// The container's cgroup.
    pub dir: PathBuf,
    /// Where the whole hierarchy is mounted on the host: what a container with the host's cgroup
    /// namespace sees on v2.
    pub hierarchy: PathBuf,
    /// Other names that link to it.
    pub links: Vec<String>,
}

/// What a `cgroup` mount of this cgroup shows: on v2 its directory, otherwise its directory in
/// each v1 hierarchy under the name that the hierarchy has on the host.
pub fn cgroup_mounts(mode: Mode, hierarchies: &[Hierarchy], cgroup: &Cgroup) -> Vec<CgroupMount> {
    let dirs = cgroup.dirs();
    let mut mounts = Vec::with_capacity(dirs.len());
    for hierarchy in hierarchies {
        let Some(dir) = dirs.iter().find(|d| d.starts_with(&hierarchy.mount)) else {
            continue;
        };
        match (mode, hierarchy.version) {
            (Mode::V2, _) => {
                let (dir, hierarchy) = (dir.clone(), hierarchy.mount.clone());
                return vec![CgroupMount { name: String::new(), dir, hierarchy, links: Vec::new() }];
            }
            (_, Version::V2) => {}
            (_, Version::V1) => {
                let name = hierarchy.mount.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let controllers: Vec<_> = hierarchy.controllers.iter().map(|c| c.name().to_owned()).collect();
                let links = if controllers.len() > 1 {
                    controllers.into_iter().filter(|c| *c != name).collect()
                } else {
                    Vec::new()
                };
                let (dir, hierarchy) = (dir.clone(), hierarchy.mount.clone());
                mounts.push(CgroupMount { name, dir, hierarchy, links });
            }
        }
    }
    mounts
}

/// The plan for a container of this specification (Linux, versions 1.0 to 1.3).
///
/// `linux.resources` and `linux.cgroupsPath` are not part of it: they are applied by the one that makes the cgroup
/// (see [`super::resources`]), before the plan is run.
///
/// # Errors
/// The first setting that is not supported, by its name in the specification.
pub fn plan(spec: &Spec, inputs: &Inputs<'_>) -> Result<Plan, PlanError> {
    refuse(spec)?;
    let linux = spec.linux().as_ref();
    let namespaces = namespaces::namespaces(linux, inputs)?;
    let (uid_map, gid_map) = maps(linux, &namespaces)?;
    let mut inputs = inputs.clone();
    if !uid_map.is_empty() {
        inputs.id_maps = Some((uid_map.clone(), gid_map.clone()));
    }
    if namespaces.cgroup == Space::Host {
        for mount in inputs.cgroups.iter_mut().filter(|m| m.name.is_empty()) {
            mount.dir = mount.hierarchy.clone();
        }
    }
    let process = spec.process().as_ref().ok_or_else(|| PlanError::invalid("process", "there is none"))?;
    let process_plan =
        process_of::process(process, &inputs, namespaces.user != Space::Host)?.of_container(spec)?;
    if linux.is_some_and(|l| l.seccomp().is_some()) && inputs.seccomp.is_none() {
        return Err(PlanError::unsupported("linux.seccomp", "a profile that was not compiled"));
    }
    let propagation = linux.and_then(|l| l.rootfs_propagation().as_deref()).unwrap_or("");
    let root = root(spec, &inputs, root_propagation(propagation)?)?;
    let terminal = process.terminal().unwrap_or(false);
    let steps = steps(spec, &inputs, &namespaces, (&process_plan.cwd, terminal))?;
    // Those of a namespace that the caller gives are its own words; a file may say others.
    let has_maps = matches!(namespaces.user, Space::New | Space::Given);
    Ok(Plan {
        uid_map: if has_maps { uid_map } else { Vec::new() },
        gid_map: if has_maps { gid_map } else { Vec::new() },
        namespaces,
        root,
        steps,
        process: process_plan,
    })
}

/// What is not supported.
fn refuse(spec: &Spec) -> Result<(), PlanError> {
    let linux = spec.linux().as_ref();
    let hooks = spec.hooks().as_ref();
    let list = |hooks: Option<&Vec<_>>| hooks.is_some_and(|h| !h.is_empty());
    let text = |value: Option<&String>| value.is_some_and(|t| !t.is_empty());
    let refused = [
        ("solaris", spec.solaris().is_some(), "a container for another operating system"),
        ("windows", spec.windows().is_some(), "a container for another operating system"),
        ("zos", spec.zos().is_some(), "a container for another operating system"),
        ("vm", spec.vm().is_some(), "a virtual machine"),
        ("uidMappings", spec.uid_mappings().is_some(), "a map outside of linux"),
        ("gidMappings", spec.gid_mappings().is_some(), "a map outside of linux"),
        ("hooks.prestart", list(hooks.and_then(|h| h.prestart().as_ref())), "a hook"),
        ("hooks.createRuntime", list(hooks.and_then(|h| h.create_runtime().as_ref())), "a hook"),
        ("hooks.createContainer", list(hooks.and_then(|h| h.create_container().as_ref())), "a hook"),
        ("hooks.startContainer", list(hooks.and_then(|h| h.start_container().as_ref())), "a hook"),
        ("hooks.poststart", list(hooks.and_then(|h| h.poststart().as_ref())), "a hook"),
        ("hooks.poststop", list(hooks.and_then(|h| h.poststop().as_ref())), "a hook"),
        ("linux.mountLabel", text(linux.and_then(|l| l.mount_label().as_ref())), "SELinux"),
        ("linux.intelRdt", linux.is_some_and(|l| l.intel_rdt().is_some()), "Intel RDT"),
        (
            "linux.netDevices",
            linux.and_then(|l| l.net_devices().as_ref()).is_some_and(|d| !d.is_empty()),
            "moving a network device",
        ),
    ];
    match refused.iter().find(|(_, set, _)| *set) {
        Some((field, _, what)) => Err(PlanError::unsupported(*field, *what)),
        None => Ok(()),
    }
}

fn maps(linux: Option<&Linux>, namespaces: &Namespaces) -> Result<(Vec<IdMap>, Vec<IdMap>), PlanError> {
    let uids = linux.and_then(|l| l.uid_mappings().as_deref()).unwrap_or(&[]);
    let gids = linux.and_then(|l| l.gid_mappings().as_deref()).unwrap_or(&[]);
    let check = |name: &str, list: &[_]| match (namespaces.user.clone(), list.is_empty()) {
        (Space::New, true) => {
            Err(PlanError::invalid(format!("linux.{name}"), "a new user namespace needs a map"))
        }
        (Space::Host, false) => {
            Err(PlanError::invalid(format!("linux.{name}"), "there is no user namespace"))
        }
        (Space::New | Space::Host | Space::Given | Space::Path(_), _) => Ok(()),
    };
    check("uidMappings", uids)?;
    check("gidMappings", gids)?;
    Ok((id_maps(uids), id_maps(gids)))
}

fn root(spec: &Spec, inputs: &Inputs<'_>, propagation: Propagation) -> Result<Root, PlanError> {
    let root = spec.root().as_ref().ok_or_else(|| PlanError::invalid("root", "there is none"))?;
    let source = match (inputs.given_root, inputs.bundle) {
        (true, _) => RootSource::Given,
        (false, _) if root.path().is_absolute() => RootSource::Path(bytes(root.path())),
        (false, Some(bundle)) => RootSource::Path(bytes(&bundle.join(root.path()))),
        (false, None) => return Err(PlanError::invalid("root.path", "not an absolute path")),
    };
    Ok(Root { source, readonly: root.readonly().unwrap_or(false), propagation })
}

/// Everything inside, in its order: names, mounts, devices, terminal, working directory, sysctls, and
/// then what restricts access.
fn steps(
    spec: &Spec,
    inputs: &Inputs<'_>,
    namespaces: &Namespaces,
    (cwd, terminal): (&[u8], bool),
) -> Result<Vec<Step>, PlanError> {
    let linux = spec.linux().as_ref();
    let mut steps = names(spec, namespaces)?;
    let private =
        linux.and_then(|l| l.rootfs_propagation().as_deref()).is_some_and(|p| p.contains("private"));
    let default = if private { Propagation::RecursivePrivate } else { Propagation::RecursiveSlave };
    let mounts = mounts::mounts(spec.mounts().as_deref().unwrap_or(&[]), inputs, default)?;
    steps.extend(mounts.steps);
    if !mounts.foreign_dev {
        let list = linux.and_then(|l| l.devices().as_deref()).unwrap_or(&[]);
        steps.extend(devices::steps(list, namespaces.user != Space::Host)?);
    }
    if terminal {
        steps.push(Step::Console);
    }
    if cwd != b"/" {
        steps.push(Step::Directory(cwd.to_vec()));
    }
    let mut sysctls: Vec<_> = linux.and_then(|l| l.sysctl().as_ref()).into_iter().flatten().collect();
    sysctls.sort();
    for (key, value) in sysctls {
        let key = namespaces::sysctl_path(key, namespaces)?;
        steps.push(Step::Sysctl { key, value: value.clone().into_bytes() });
    }
    steps.extend(mounts.seals);
    let paths = |list: Option<&Vec<String>>, field: &str| {
        let list = list.into_iter().flatten();
        list.map(|path| match path.as_bytes() {
            absolute @ [b'/', ..] => Ok(absolute.to_vec()),
            _ => Err(PlanError::invalid(field, format!("{path:?} is not an absolute path"))),
        })
        .collect::<Result<Vec<_>, _>>()
    };
    let readonly = paths(linux.and_then(|l| l.readonly_paths().as_ref()), "linux.readonlyPaths")?;
    steps.extend(readonly.into_iter().map(Step::ReadOnly));
    let masked = paths(linux.and_then(|l| l.masked_paths().as_ref()), "linux.maskedPaths")?;
    steps.extend(masked.into_iter().map(Step::Mask));
    Ok(steps)
}

fn names(spec: &Spec, namespaces: &Namespaces) -> Result<Vec<Step>, PlanError> {
    let mut steps = Vec::new();
    let mut name = |field: &str, value: Option<&String>, step: fn(Vec<u8>) -> Step| {
        let Some(value) = value.filter(|v| !v.is_empty()) else {
            return Ok(());
        };
        if namespaces.uts == Space::Host {
            return Err(PlanError::invalid(field, "the container uses the host's UTS namespace"));
        }
        if value.len() > 64 {
            return Err(PlanError::invalid(field, "longer than 64 bytes"));
        }
        steps.push(step(value.clone().into_bytes()));
        Ok(())
    };
    name("hostname", spec.hostname().as_ref(), Step::Hostname)?;
    name("domainname", spec.domainname().as_ref(), Step::Domainname)?;
    Ok(steps)
}
