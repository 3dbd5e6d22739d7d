//! Mounts of the specification as steps.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use berth_sys::mount as sys;
use oci_spec::runtime::LinuxIdMapping;

use super::options::Options;
use super::{
    Attributes, CgroupMount, Filesystem, IdMap, Inputs, Mount, MountSource, Origin, PlanError, Propagation,
    Step,
};

/// The files of a procfs that may be mounted over: what lxcfs makes, as runc has it.
const ON_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
];

/// Steps for mounts, and those that come when everything is in place.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) steps: Vec<Step>,
    pub(super) seals: Vec<Step>,
    /// Whether `/dev` is the caller's: then nothing is made in it.
    pub(super) foreign_dev: bool,
}

pub(super) fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

pub(super) fn id_maps(maps: &[LinuxIdMapping]) -> Vec<IdMap> {
    maps.iter().map(|m| IdMap { inside: m.container_id(), outside: m.host_id(), count: m.size() }).collect()
}

/// A destination without `.`, `..` and doubled slashes. Version 1.0 let it be relative; it is taken
/// from the root then, as runc does.
fn clean(path: &Path, field: &str) -> Result<PathBuf, PlanError> {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        use std::path::Component as C;
        match part {
            C::RootDir | C::CurDir => {}
            C::Normal(name) => clean.push(name),
            C::ParentDir => {
                clean.pop();
            }
            C::Prefix(_) => return Err(PlanError::invalid(field, "not a path of this system")),
        }
    }
    if clean == Path::new("/") {
        return Err(PlanError::invalid(field, "a mount on the root directory"));
    }
    Ok(clean)
}

/// Where a destination inside `/proc` is allowed; None when it is not inside `/proc`.
fn on_proc(destination: &Path, field: &str) -> Result<bool, PlanError> {
    if !destination.starts_with("/proc") || destination == Path::new("/proc") {
        return Ok(false);
    }
    if ON_PROC.iter().any(|allowed| destination == Path::new(allowed)) {
        return Ok(true);
    }
    Err(PlanError::invalid(field, format!("{} must not be mounted over", destination.display())))
}

/// All mounts, in their order.
pub(super) fn mounts(
    list: &[oci_spec::runtime::Mount],
    inputs: &Inputs<'_>,
    default: Propagation,
) -> Result<Mounts, PlanError> {
    let mut mounts = Mounts::default();
    for (index, mount) in list.iter().enumerate() {
        let field = format!("mounts[{index}]");
        add(&mut mounts, mount, &field, inputs, default)?;
    }
    Ok(mounts)
}

fn add(
    mounts: &mut Mounts,
    spec: &oci_spec::runtime::Mount,
    field: &str,
    inputs: &Inputs<'_>,
    default: Propagation,
) -> Result<(), PlanError> {
    let destination = clean(spec.destination(), &format!("{field}.destination"))?;
    let kind = spec.typ().as_deref().unwrap_or("none");
    let mut options = Options::parse(spec.options().as_deref().unwrap_or(&[]), &format!("{field}.options"))?;
    if kind == "bind" {
        options.bind.get_or_insert(false);
    }
    let maps = (
        id_maps(spec.uid_mappings().as_deref().unwrap_or(&[])),
        id_maps(spec.gid_mappings().as_deref().unwrap_or(&[])),
    );
    let on_proc = on_proc(&destination, &format!("{field}.destination"))?;
    // A bind mount is checked when it is attached: the host's procfs may be bound, as runc has it.
    if destination == Path::new("/proc") && options.bind.is_none() && kind != "proc" {
        let problem = format!("a file system of type {kind} may not be mounted on /proc, only a procfs");
        return Err(PlanError::invalid(field, problem));
    }
    if let Some(recursive) = options.bind {
        mounts.foreign_dev |= destination == Path::new("/dev");
        let source = bind(spec, field, inputs, &options, recursive, maps)?;
        if options.idmap == Some(true) {
            options.recursive_attributes.set |= sys::IDMAP;
        }
        mounts.steps.push(Step::Mount(Mount {
            destination: bytes(&destination),
            source,
            attributes: options.attributes,
            recursive_attributes: options.recursive_attributes,
            propagation: options.propagation.unwrap_or(default),
            on_proc,
        }));
        return Ok(());
    }
    if !maps.0.is_empty() || !maps.1.is_empty() || options.idmap.is_some() {
        return Err(PlanError::unsupported(
            format!("{field}.uidMappings"),
            "an idmapped mount that is not a bind mount",
        ));
    }
    match kind {
        "cgroup" | "cgroup2" => cgroup(mounts, &destination, &options, field, inputs),
        "none" | "" => Err(PlanError::invalid(format!("{field}.type"), "a mount with neither type nor bind")),
        kind => {
            filesystem(mounts, spec, kind, &destination, options);
            Ok(())
        }
    }
}

fn bind(
    spec: &oci_spec::runtime::Mount,
    field: &str,
    inputs: &Inputs<'_>,
    options: &Options,
    recursive: bool,
    (uid_map, gid_map): (Vec<IdMap>, Vec<IdMap>),
) -> Result<MountSource, PlanError> {
    let source = spec.source().as_deref().filter(|s| !s.as_os_str().is_empty());
    let source =
        source.ok_or_else(|| PlanError::invalid(format!("{field}.source"), "a bind mount needs a source"))?;
    if let Some((word, _)) = options.data.first() {
        let problem = format!("the option {word:?} has no effect on a bind mount");
        return Err(PlanError::invalid(format!("{field}.options"), problem));
    }
    let (uid_map, gid_map) = match (uid_map.is_empty(), gid_map.is_empty(), options.idmap) {
        (false, false, _) | (true, true, None) => (uid_map, gid_map),
        (true, true, Some(_)) => inputs.id_maps.clone().ok_or_else(|| {
            PlanError::invalid(
                format!("{field}.options"),
                "idmap needs mappings, of the mount or the container",
            )
        })?,
        _ => {
            return Err(PlanError::invalid(
                format!("{field}.uidMappings"),
                "uidMappings and gidMappings come together",
            ));
        }
    };
    let absolute = match (source.is_absolute(), inputs.bundle) {
        (true, _) => source.to_owned(),
        (false, Some(bundle)) => bundle.join(source),
        (false, None) => {
            return Err(PlanError::invalid(format!("{field}.source"), "not an absolute path"));
        }
    };
    let given = inputs.given_mounts.iter().position(|given| *given == absolute);
    let origin = match given.and_then(|number| u32::try_from(number).ok()) {
        Some(number) => Origin::Given(number),
        None => Origin::Path(bytes(&absolute)),
    };
    Ok(MountSource::Bind { origin, recursive, uid_map, gid_map })
}

fn filesystem(
    mounts: &mut Mounts,
    spec: &oci_spec::runtime::Mount,
    kind: &str,
    destination: &Path,
    mut options: Options,
) {
    // A read-only tmpfs would take no mount points: it is made read-only at the end.
    if kind == "tmpfs" && options.attributes.set & sys::RDONLY != 0 {
        options.attributes.set &= !sys::RDONLY;
        mounts.seals.push(Step::Seal(bytes(destination)));
    }
    let source = spec.source().as_deref().map_or_else(|| kind.as_bytes().to_vec(), bytes);
    mounts.steps.push(Step::Mount(Mount {
        destination: bytes(destination),
        source: MountSource::Filesystem(Filesystem {
            kind: kind.to_owned(),
            source,
            options: options.data,
            strict: matches!(kind, "proc" | "sysfs"),
        }),
        attributes: options.attributes,
        recursive_attributes: options.recursive_attributes,
        propagation: options.propagation.unwrap_or_default(),
        on_proc: false,
    }));
}

/// The cgroup file system: the container's own directories, so that it sees nothing above.
fn cgroup(
    mounts: &mut Mounts,
    destination: &Path,
    options: &Options,
    field: &str,
    inputs: &Inputs<'_>,
) -> Result<(), PlanError> {
    if let Some((word, _)) = options.data.first() {
        let what = format!("the option {word:?} of a cgroup mount");
        return Err(PlanError::unsupported(format!("{field}.options"), what));
    }
    let show = |to: &Path, dir: &Path| {
        Step::Mount(Mount {
            destination: bytes(to),
            source: MountSource::Bind {
                origin: Origin::Path(bytes(dir)),
                recursive: false,
                uid_map: Vec::new(),
                gid_map: Vec::new(),
            },
            attributes: options.attributes,
            recursive_attributes: Attributes::default(),
            propagation: options.propagation.unwrap_or_default(),
            on_proc: false,
        })
    };
    let Some(first) = inputs.cgroups.first() else {
        return Err(PlanError::invalid(format!("{field}.type"), "the container has no cgroup to show"));
    };
    if first.name.is_empty() {
        mounts.steps.push(show(destination, &first.dir));
        return Ok(());
    }
    mounts.steps.push(Step::Mount(Mount {
        destination: bytes(destination),
        source: MountSource::Filesystem(Filesystem {
            kind: "tmpfs".into(),
            source: b"tmpfs".to_vec(),
            options: vec![("mode".into(), Some(b"755".to_vec()))],
            strict: true,
        }),
        attributes: Attributes { set: options.attributes.set & !sys::RDONLY, clear: 0 },
        recursive_attributes: Attributes::default(),
        propagation: options.propagation.unwrap_or_default(),
        on_proc: false,
    }));
    for CgroupMount { name, dir, links, .. } in &inputs.cgroups {
        mounts.steps.push(show(&destination.join(name), dir));
        for link in links {
            mounts
                .steps
                .push(Step::Link { path: bytes(&destination.join(link)), target: name.as_bytes().to_vec() });
        }
    }
    if options.attributes.set & sys::RDONLY != 0 {
        mounts.seals.push(Step::Seal(bytes(destination)));
    }
    Ok(())
}
