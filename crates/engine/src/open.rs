//! Opening an engine: stores, cgroups, network, then the pods that run.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use berth_image::pull::Puller;
use berth_image::registry::{self, Registry};
use berth_image::{Images, Names};
use berth_net::{Builtin, Ipv6};
use berth_sys::{cgroup, overlay};

use crate::board::Board;
use crate::config::{BuiltinImage, EngineConfig, NetworkChoice};
use crate::doctor::mounts_below;
use crate::error::EngineError;
use crate::layout::Layout;
use crate::pod::recover;
use crate::shared::{Pods, Shared};
use crate::shim::spawn::Launcher;
use crate::{healing, host, profile, record, stages, users};

/// Everything opened, every pod found again.
pub(crate) async fn open(config: EngineConfig) -> Result<(Arc<Shared>, Puller), EngineError> {
    let layout = Layout { root: config.root.clone(), state: config.state.clone() };
    directories(&layout)?;
    let images = Images::open(image_config(&config))
        .await
        .map_err(|e| EngineError::failed("open the image store", e))?;
    overlay::trial(&layout.root).map_err(|e| EngineError::failed("keep containers' files", e))?;
    boot(&layout)?;
    let cgroups = cgroup::Host::detect().map_err(|e| EngineError::failed("find the host's cgroups", e))?;
    // What may be refused comes before what would have to be taken back.
    let network = network(&config, &layout)?;
    let launcher = Launcher::new(&cgroups, &config)?;
    let facts = host::facts(&cgroups);
    let registry = Registry::new(registry::Config {
        certs_dirs: config.images.certs_dirs.clone(),
        unqualified_registries: config.images.short_name_hosts.clone(),
        ..registry::Config::default()
    });
    let puller = Puller::new(registry, images.clone());
    let shared = Arc::new(Shared {
        config,
        layout,
        board: Board::new(),
        stages: stages::Log::default(),
        images,
        cgroups,
        launcher,
        network,
        facts,
        profiles: profile::Profiles::default(),
        users: users::Users::default(),
        pods: Pods::default(),
        outputs: crate::pod::exec::Room::default(),
    });
    builtin_images(&shared).await;
    let left = recover::all(&shared).await?;
    recover::sweep(&shared, &left).await;
    if let Some(network) = &shared.network {
        healing::begin(network)?;
    }
    Ok((shared, puller))
}

/// Puts the images that the program carries into the store, where they are not. Without them everything
/// else works, so a failure is told and no more.
async fn builtin_images(shared: &Shared) {
    for builtin in &shared.config.images.builtin {
        if matches!(shared.images.find(builtin.name), Ok(Some(_))) {
            continue;
        }
        if let Err(error) = load(shared, builtin).await {
            let error = berth_types::error::chain(&error);
            tracing::warn!(image = builtin.name, error, "the image that Berth carries is not loaded");
        }
    }
}

async fn load(shared: &Shared, builtin: &BuiltinImage) -> Result<(), EngineError> {
    let archive = berth_sys::memfd::sealed("image", builtin.archive)
        .map_err(|e| EngineError::system("make a file of the image", e))?;
    let loaded = shared.images.load(archive.into(), |_| {}).await;
    let loaded = loaded.map_err(|e| EngineError::failed("load the image", e))?;
    for image in loaded {
        if !image.tags.iter().any(|tag| tag == builtin.name) {
            let names = Names { tags: vec![builtin.name.to_owned()], repo_digests: Vec::new() };
            let tagged = shared.images.tag(&image.id, names).await;
            tagged.map_err(|e| EngineError::failed("name the image", e))?;
        }
    }
    Ok(())
}

fn image_config(config: &EngineConfig) -> berth_image::Config {
    let mut images = berth_image::Config::new(&config.root);
    if let Some(program) = config.images.unpacker.first() {
        images.unpacker.clone_from(program);
    }
    images
}

fn directories(layout: &Layout) -> Result<(), EngineError> {
    let make = |path: &Path, mode: u32| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .map_err(|e| EngineError::system(format!("make {}", path.display()), e))
    };
    make(&layout.root, 0o711)?;
    make(&layout.state, 0o711)?;
    make(&layout.pods(), 0o711)
}

/// The state of another boot is gone with it: what its records tell of does not exist any more.
fn boot(layout: &Layout) -> Result<(), EngineError> {
    let failed = |e: io::Error| EngineError::system("tell this boot from the last", e);
    let now = std::fs::read("/proc/sys/kernel/random/boot_id").map_err(failed)?;
    let before = record::read_bytes(&layout.boot()).map_err(failed)?;
    if before.as_ref().is_some_and(|before| *before != now) {
        tracing::info!("the machine was restarted; the pods of before are gone");
        // After a restart there are none. If it is the file that is wrong, the sweep ends what still runs.
        for mount in mounts_below(&layout.pods()) {
            rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH)
                .map_err(|e| EngineError::system(format!("unmount {}", mount.display()), e))?;
        }
        record::remove(&layout.pods()).map_err(failed)?;
        directories(layout)?;
    }
    if before.as_ref() != Some(&now) {
        record::write_bytes(&layout.boot(), &now).map_err(failed)?;
    }
    Ok(())
}

fn network(config: &EngineConfig, layout: &Layout) -> Result<Option<Arc<Builtin>>, EngineError> {
    let wanted = [config.cri_network, config.local_network].contains(&NetworkChoice::Builtin);
    if !wanted {
        return Ok(None);
    }
    let builtin = &config.builtin;
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let mut net = berth_net::Config::for_instance(&config.instance, machine.trim(), layout.network());
    if !builtin.bridge.is_empty() {
        net.bridge.clone_from(&builtin.bridge);
    }
    if !builtin.table.is_empty() {
        net.table.clone_from(&builtin.table);
    }
    if !builtin.cidr4.is_empty() {
        let cidr = builtin
            .cidr4
            .parse()
            .map_err(|e: berth_net::ParseCidrError| EngineError::invalid("pod-cidr", e.to_string()))?;
        net.cidr4 = Some(cidr);
    }
    if let Some(cidr6) = &builtin.cidr6 {
        let cidr = cidr6
            .parse()
            .map_err(|e: berth_net::ParseCidrError| EngineError::invalid("pod-cidr", e.to_string()))?;
        net.cidr6 = Ipv6::IfAvailable(cidr);
    }
    let network = Builtin::open(net).map_err(|e| EngineError::failed("open the built-in network", e))?;
    Ok(Some(Arc::new(network)))
}
