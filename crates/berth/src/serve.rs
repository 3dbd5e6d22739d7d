//! `berth serve`: the daemon.

mod authority;
mod builtin;
mod listen;
mod logging;
mod metrics;
mod only;
mod reload;
pub(crate) mod settings;

pub(crate) use listen::private_dir;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use berth_engine::seams::Seams;
use berth_engine::{BuiltinNetwork, CniNetwork, Engine, EngineConfig, ImageConfig, NetworkChoice};
use berth_streaming::Bound;
use berth_sys::memory::{self, Keep};
use berth_sys::rlimit;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::service::Service;

use metrics::Metrics;
use reload::Reload;
use settings::{Flags, Given, Layers, Network, Nri, Settings};

/// The program that every pod's shim runs, built with this one.
static SHIM: &[u8] = include_bytes!(env!("BERTH_SHIM"));

/// `berth serve`
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The configuration file; every flag below is also a key there, and in the files of config.d beside it, which is read
    /// after it [default: /etc/berth/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leave the terminal's session, as a daemon that the command line started
    #[arg(long, hide = true)]
    background: bool,
    #[command(flatten)]
    given: Flags,
}

impl Serve {
    /// Runs the daemon until it is told to end.
    pub(crate) fn run(self, instance: Option<String>) -> anyhow::Result<()> {
        if self.background {
            // Fails only for the leader of a group, which has no session to leave.
            rustix::process::setsid().ok();
        }
        if !rustix::process::geteuid().is_root() {
            anyhow::bail!("the daemon needs root (hint: try sudo)");
        }
        // Plugins and other programs get no descriptor that some shell had left open. An old kernel cannot do without.
        berth_sys::process::inherit_nothing().ok();
        // That of the caller's shell is not meant for the files of pods.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let flags = Given { instance, ..self.given.0 };
        let running = Layers::read(&flags, self.config.as_deref())?;
        let settings = running.resolve()?;
        memory::keep(Keep::LITTLE);
        let level = logging::start(&settings)?;
        let reload = Reload { flags, path: self.config, running, level };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            // Each that asks a dead file server for a volume keeps one.
            .max_blocking_threads(256)
            .thread_keep_alive(Duration::from_secs(2))
            // Touched only as far as it is needed. glibc keeps 40 MiB of the stacks of threads that have ended, with what
            // each had touched: ten of this size.
            .thread_stack_size(4 << 20)
            .enable_all()
            .build()
            .context("start the runtime")?;
        runtime.block_on(serve(settings, reload))
    }
}

/// What the engine of these settings is opened with.
pub(crate) fn engine_config(settings: &Settings) -> EngineConfig {
    EngineConfig {
        instance: settings.instance.clone(),
        root: settings.root.clone(),
        state: settings.state.clone(),
        cgroup_driver: settings.cgroups.driver,
        cgroup_root: settings.cgroups.root.clone(),
        cgroup_slice: settings.cgroups.slice.clone(),
        handlers: settings.handlers.clone(),
        handler_dirs: settings.handler_dirs.clone(),
        cdi_dirs: settings.cdi_dirs.clone(),
        hooks_dirs: settings.hooks_dirs.clone(),
        default_handler: settings.default_handler.clone(),
        images: ImageConfig {
            short_name_hosts: settings.short_name_hosts.clone(),
            certs_dirs: settings.certs_dirs.clone(),
            unpacker: vec!["/proc/self/exe".into()],
            builtin: vec![builtin::demo()],
        },
        cri_network: match settings.network {
            Network::Cni => NetworkChoice::Cni,
            Network::Builtin => NetworkChoice::Builtin,
            Network::None => NetworkChoice::None,
        },
        local_network: NetworkChoice::Builtin,
        builtin: BuiltinNetwork {
            bridge: settings.bridge.clone(),
            table: settings.table.clone(),
            cidr4: settings.pod_cidr.clone(),
            services4: settings.service_cidr.clone(),
        },
        cni: CniNetwork { conf_dir: settings.cni_conf_dir.clone(), bin_dirs: settings.cni_bin_dirs.clone() },
        shim: SHIM,
        open_files: None,
    }
}

async fn serve(settings: Settings, reload: Reload) -> anyhow::Result<()> {
    // A daemon has several descriptors of each pod; the pods themselves get what it was given.
    let open_files = rlimit::raise(rlimit::NOFILE).context("raise the limit of open files")?;
    let config = EngineConfig { open_files: Some(open_files), ..engine_config(&settings) };
    let _only = only::of(&settings.instance)?;
    for dir in [&settings.root, &settings.state] {
        listen::private_dir(dir)?;
    }
    // Before anything is made on the machine: its address may be taken.
    let streams = Bound::new(&settings.streams).await.context("start the streaming server")?;
    let metrics = match &settings.metrics {
        Some(address) => Some(metrics::bind(address).await?),
        None => None,
    };
    let nri = berth_nri::Service::new();
    let seams = Seams { adjust: vec![Arc::new(nri.clone())], ..Seams::default() };
    let engine = Engine::open_with(config, seams).await.context("open the engine")?;
    let _plugins = plugins(&nri, &engine, &settings).await?;
    let urls = streams.urls();
    let (closing, mut closed) = watch::channel(false);
    let streams = streams.serve(engine.clone()).run(async move {
        // Without its sender this is over too.
        drop(closed.wait_for(|closed| *closed).await);
    });
    let streams = tokio::spawn(streams);
    let (end, mut ended) = watch::channel(false);
    let service = Service::start(engine.clone(), end).await;
    engine.set_image_policy(settings.image_gc);
    tokio::spawn(engine.clone().keep_collecting());
    reload.begin(engine.clone())?;
    // The socket appears only now, when all pods are known.
    let listener = listen::bind(&settings.socket)?;
    if let Some(file) = &settings.pid_file {
        std::fs::write(file, format!("{}\n", std::process::id()))
            .with_context(|| format!("write the pid file {}", file.display()))?;
    }
    let (metrics, of_metrics) = match metrics {
        Some(listener) => {
            let (metrics, engine) = (Arc::new(Metrics::default()), engine.clone());
            let file = listener.file().map(|(path, inode)| (path.to_owned(), inode));
            tracing::info!(address = listener.address(), "metrics");
            tokio::spawn(listener.serve(Arc::clone(&metrics), engine));
            (Some(metrics), file)
        }
        None => (None, None),
    };
    tokio::spawn(give_back_now_and_then());
    tracing::info!(socket = %settings.socket.display(), version = env!("CARGO_PKG_VERSION"), "ready");

    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = term.recv() => tracing::info!("SIGTERM: shutting down, pods keep running"),
            _ = interrupt.recv() => tracing::info!("SIGINT: shutting down, pods keep running"),
            _ = ended.wait_for(|end| *end) => tracing::info!("asked to shut down"),
        }
    };
    let inode = listener.inode;
    listen::serve(listener, listen::Services { engine: &engine, urls, service, metrics }, stop).await;
    closing.send_replace(true);
    // It has a limit of its own.
    streams.await.ok();
    listen::unbind(&settings.socket, inode);
    if let Some((path, inode)) = of_metrics {
        listen::unbind(&path, inode);
    }
    Ok(())
}

/// Starts NRI plugins, and lets others connect.
async fn plugins(
    nri: &berth_nri::Service,
    engine: &Engine,
    settings: &Settings,
) -> anyhow::Result<Option<berth_nri::Bound>> {
    let Nri { socket, is_given, plugin_dir, config_dir } = settings.nri.clone();
    // That of another runtime that is there is not taken away from it.
    let is_taken = socket.as_ref().is_some_and(|path| std::os::unix::net::UnixStream::connect(path).is_ok());
    if let Some(path) = socket.as_ref().filter(|_| is_taken) {
        let path = path.display();
        if is_given {
            anyhow::bail!(
                "NRI socket {path}: another runtime answers there (hint: --nri-socket with another path)"
            );
        }
        tracing::warn!(%path, "another runtime has this socket, so that no NRI plugin can connect");
    }
    let version = concat!("v", env!("CARGO_PKG_VERSION")).to_owned();
    let socket = socket.filter(|_| !is_taken);
    let place = socket.as_deref().unwrap_or(&plugin_dir).display().to_string();
    let settings = berth_nri::Settings { socket, plugin_dir, config_dir, version };
    match nri.start(engine, &settings).await {
        Ok(bound) => Ok(Some(bound)),
        Err(error) if !is_given => {
            tracing::warn!(path = place, %error, "no NRI plugin can connect");
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("listen for NRI plugins on {place}")),
    }
}

/// Gives back memory after the start and after busy times.
async fn give_back_now_and_then() {
    const LOOK: Duration = Duration::from_secs(10);
    const BUSY: Duration = Duration::from_millis(100);
    let used = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    };
    let mut before = Duration::ZERO;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = used();
        if now.saturating_sub(before) > BUSY {
            tokio::task::spawn_blocking(memory::give_back);
        }
        before = now;
    }
}
