//! Opening an engine: stores, cgroups, network, then the pods that run.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, RwLock};

use berth_image::pull::Puller;
use berth_image::registry::{self, Registry};
use berth_image::{Images, Names};
use berth_sys::{cgroup, overlay};

use crate::config::{BuiltinImage, EngineConfig};
use crate::error::EngineError;
use crate::handler::check::SelfCheck;
use crate::handler::{ByKind, Handler, Handlers, Native};
use crate::host::apparmor::AppArmor;
use crate::host::doctor::mounts_below;
use crate::host::layout::Layout;
use crate::host::networks::Networks;
use crate::host::placement::{self, Roots};
use crate::host::{facts, network_repair, record, stages};
use crate::seams::Seams;
use crate::shared::{Pods, Shared};
use crate::shim::spawn::{Launcher, Program};
use crate::user_namespace::UserNamespaces;
use crate::views::Views;
use crate::{recovery, users};

/// Everything is opened, and every pod recovered.
pub(crate) async fn open(config: EngineConfig, seams: Seams) -> Result<(Arc<Shared>, Puller), EngineError> {
    let layout = Layout { root: config.root.clone(), state: config.state.clone() };
    directories(&layout)?;
    let images = Images::open(image_config(&config))
        .await
        .map_err(|e| EngineError::failed("open the image store", e))?;
    overlay::trial(&layout.root)
        .map_err(|e| EngineError::failed("prepare the directory of containers", e))?;
    let restarted = boot(&layout)?;
    let cgroups = cgroup::Host::detect().map_err(|e| EngineError::failed("find the host's cgroups", e))?;
    let roots = Roots::of(&config)?;
    // What may fail comes before what would have to be undone.
    let networks = Networks::open(&config, &layout)?;
    let facts = facts::facts(&cgroups);
    let program = Arc::new(Program::new(config.shim));
    let native: Arc<dyn Handler> = Arc::new(Native::new(Arc::clone(&program)));
    let placement = match seams.placement {
        Some(placement) => placement,
        None => {
            let driver = placement::choose(config.cgroup_driver, &cgroups)?;
            tracing::info!(driver = driver.name(), "manager of cgroups");
            placement::open(driver, &cgroups, &roots, Arc::clone(&program))?
        }
    };
    let runtimes = seams.runtimes.unwrap_or_else(|| Arc::new(ByKind::new(Arc::clone(&program))));
    let check = Arc::new(SelfCheck::new(Arc::clone(&placement), config.state.clone(), Arc::clone(&program)));
    let handlers = Handlers::new(&config, seams.handlers.into_iter().chain([native]), runtimes, check);
    let launcher = Launcher::new(config.open_files);
    let registry = Registry::new(registry::Config {
        certs_dirs: config.images.certs_dirs.clone(),
        unqualified_registries: config.images.short_name_hosts.clone(),
        ..registry::Config::default()
    });
    let puller = Puller::new(registry, images.clone());
    let shared = Arc::new(Shared {
        cdi_dirs: RwLock::new(config.cdi_dirs.as_slice().into()),
        hooks_dirs: RwLock::new(config.hooks_dirs.as_slice().into()),
        config,
        layout,
        views: Views::new(),
        stages: stages::Log::default(),
        images,
        cgroups,
        roots,
        launcher,
        networks,
        facts,
        apparmor: AppArmor::of_host(),
        handlers: Arc::new(handlers),
        placement,
        adjust: seams.adjust,
        unseen: Arc::default(),
        users: users::Users::default(),
        user_namespaces: UserNamespaces::default(),
        pods: Pods::default(),
        restarted,
        forwards: Default::default(),
        collection: Default::default(),
        stats: crate::stats::Sampler::default(),
        outputs: crate::container::exec::OutputBudget::default(),
    });
    let preparing = Arc::clone(&shared);
    tokio::spawn(async move { preparing.apparmor.prepare().await });
    builtin_images(&shared).await;
    let left = recovery::all(&shared).await?;
    recovery::sweep(&shared, &left).await;
    for network in shared.networks.all() {
        network_repair::begin(network)?;
    }
    Ok((shared, puller))
}

/// Puts the images that the program carries into the store, where they are not. Without them everything
/// else works, so a failure is only logged.
async fn builtin_images(shared: &Shared) {
    for builtin in &shared.config.images.builtin {
        if matches!(shared.images.find(builtin.name), Ok(Some(_))) {
            continue;
        }
        if let Err(error) = load(shared, builtin).await {
            let error = berth_types::error::chain(&error);
            tracing::warn!(image = builtin.name, error, "failed to load the built-in image");
        }
    }
}

async fn load(shared: &Shared, builtin: &BuiltinImage) -> Result<(), EngineError> {
    let archive = berth_sys::memfd::sealed("image", builtin.archive)
        .map_err(|e| EngineError::system("create a file of the image", e))?;
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

/// Makes the directories, for root alone: what lies in them are other users' secrets, and programs of containers that
/// may be setuid.
fn directories(layout: &Layout) -> Result<(), EngineError> {
    let make = |path: &Path| {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // Those of an older Berth could be entered by all.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
    };
    for path in [&layout.root, &layout.state, &layout.pods(), &layout.sandboxes()] {
        make(path).map_err(|e| EngineError::system(format!("make {}", path.display()), e))?;
    }
    Ok(())
}

/// Whether the machine was restarted since the last daemon. What its pods had while they ran is gone with that boot;
/// their records stay.
fn boot(layout: &Layout) -> Result<bool, EngineError> {
    let failed = |e: io::Error| EngineError::system("compare this boot with the last", e);
    let now = std::fs::read("/proc/sys/kernel/random/boot_id").map_err(failed)?;
    let before = record::read_bytes(&layout.boot()).map_err(failed)?;
    let restarted = before.as_ref() != Some(&now);
    if restarted {
        if before.is_some() {
            tracing::info!("the machine was restarted; its earlier pods have ended");
        }
        // After a restart there are none. If it is the file that is wrong, the sweep ends what still runs.
        for mount in mounts_below(&layout.pods()) {
            rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH)
                .map_err(|e| EngineError::system(format!("unmount {}", mount.display()), e))?;
        }
        record::write_bytes(&layout.boot(), &now).map_err(failed)?;
    }
    Ok(restarted)
}
