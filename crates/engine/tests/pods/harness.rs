//! An engine for each test.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use berth_engine::model::{
    ContainerConfig, ContainerMetadata, ContainerSecurity, ImageSpec, NamespaceMode, Namespaces, Network,
    Owner, PidMode, Resources, SandboxConfig, SandboxMetadata, SandboxSecurity,
};
use berth_engine::seams::{ForeignShim, Gvisor, OciRuntime, Program, Seams};
use berth_engine::{
    BuiltinNetwork, CgroupDriver, CniNetwork, Engine, EngineConfig, ImageConfig, NetworkChoice,
};
use berth_image::pull::{Progress, PullRequest};
use berth_testkit::Registry;
use berth_testkit::image::{Compression, Format, Image, Layer};
use berth_types::{ContainerId, SandboxId};

/// The longest that anything in these tests may take, on an emulated machine too.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

pub(crate) struct Programs {
    pub(crate) shim: &'static [u8],
    pub(crate) unpack: PathBuf,
}

/// The shim and the unpacker, built once.
pub(crate) fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let exe = std::env::current_exe().unwrap();
        // target/debug/deps/pods-<hash>
        let dir = exe.parent().and_then(Path::parent).unwrap().to_owned();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let profile = if dir.ends_with("release") { ["--profile", "release"] } else { ["--profile", "dev"] };
        for (package, bin) in [("berth-shim", "berth-shim"), ("berth-image", "berth-unpack")] {
            let built = Command::new(&cargo)
                .args(["build", "-q", "-p", package, "--bin", bin])
                .args(profile)
                .env("CARGO_TARGET_DIR", dir.parent().unwrap())
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .unwrap();
            assert!(built.success(), "build {bin}");
        }
        let shim = std::fs::read(dir.join("berth-shim")).unwrap();
        Programs { shim: Vec::leak(shim), unpack: dir.join("berth-unpack") }
    })
}

thread_local! {
    /// The handler of the pods of this test that name none.
    static HANDLER: Cell<Option<(&'static str, &'static str)>> = const { Cell::new(None) };
}

/// Runs a test with another handler as the default: this name, by the OCI runtime at this path.
pub(crate) fn under(handler: (&'static str, &'static str), test: fn()) {
    HANDLER.set(Some(handler));
    test();
}

/// The handler whose pods have a kernel of their own.
pub(crate) const GVISOR: &str = "runsc";

/// Its program, which `cargo xtask test` builds; None where it has not been.
pub(crate) fn runsc() -> Option<&'static str> {
    static RUNSC: OnceLock<Option<String>> = OnceLock::new();
    let find = || {
        let dir = std::env::var("BERTH_GVISOR").ok().filter(|dir| !dir.is_empty())?;
        Some(format!("{dir}/runsc"))
    };
    RUNSC.get_or_init(find).as_deref()
}

/// The handler whose containers a shim of containerd's protocol makes.
pub(crate) const SHIM: &str = "shim";

/// The program of such a shim: Debian's, or the `newer_shim`, which `cargo xtask test` builds; None where it is not there.
pub(crate) fn foreign_shim(which: &str) -> Option<&'static str> {
    static NEWER: OnceLock<String> = OnceLock::new();
    let program = match which {
        "newer_shim" => NEWER.get_or_init(|| {
            let dir = std::env::var("BERTH_SHIMS").unwrap_or_default();
            format!("{dir}/containerd-shim-runc-v2")
        }),
        _ => "/usr/bin/containerd-shim-runc-v2",
    };
    Path::new(program).exists().then_some(program)
}

/// Whether it runs with Berth's own runtime.
pub(crate) fn is_native() -> bool {
    HANDLER.get().is_none()
}

/// An engine's surroundings. They outlive the engine, which a test may drop and open again.
pub(crate) struct World {
    pub(crate) config: EngineConfig,
    dir: tempfile::TempDir,
    runtime: Option<tokio::runtime::Runtime>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_network(NetworkChoice::None)
    }

    pub(crate) fn with_network(network: NetworkChoice) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("t{}-{number}", std::process::id());
        let dir = tempfile::Builder::new().prefix("berth-").tempdir().unwrap();
        // The root of a user namespace passes it to where a runtime mounts.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let programs = programs();
        let config = EngineConfig {
            root: dir.path().join("root"),
            state: dir.path().join("state"),
            cgroup_driver: CgroupDriver::Auto,
            cgroup_root: format!("/berth-{instance}"),
            cgroup_slice: format!("berth_{}.slice", instance.replace('-', "_")),
            handlers: BTreeMap::new(),
            handler_dirs: Vec::new(),
            cdi_dirs: vec![dir.path().join("cdi")],
            hooks_dirs: vec![dir.path().join("hooks.d"), dir.path().join("own-hooks.d")],
            default_handler: HANDLER.get().map_or("native", |(name, _)| name).to_owned(),
            images: ImageConfig { unpacker: vec![programs.unpack.clone()], ..ImageConfig::default() },
            cri_network: network,
            local_network: network,
            builtin: BuiltinNetwork {
                bridge: format!("b{instance}"),
                table: format!("berth-{instance}"),
                cidr4: String::new(),
                services4: String::new(),
            },
            cni: CniNetwork {
                conf_dir: dir.path().join("net.d"),
                bin_dirs: vec![dir.path().join("bin"), "/usr/lib/cni".into()],
            },
            shim: programs.shim,
            open_files: None,
            instance,
        };
        Self { config, dir, runtime: None }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Opens the engine on a runtime of its own.
    pub(crate) fn open(&mut self) -> Engine {
        self.open_with(Seams::default())
    }

    /// The same with what a test gives it.
    pub(crate) fn open_with(&mut self, mut seams: Seams) -> Engine {
        if let Some((name, runtime)) = HANDLER.get() {
            let shim = Arc::new(Program::new(programs().shim));
            seams.handlers.push(match name {
                GVISOR => Arc::new(Gvisor::new(name.to_owned(), runtime.into(), shim)),
                SHIM => Arc::new(ForeignShim::new(name.to_owned(), runtime.into(), shim)),
                _ => Arc::new(OciRuntime::new(name.to_owned(), runtime.into(), shim)),
            });
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let engine = runtime.block_on(Engine::open_with(self.config.clone(), seams)).unwrap();
        self.runtime = Some(runtime);
        engine
    }

    /// Runs a future of the test.
    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(async { tokio::time::timeout(LIMIT, future).await.expect("within the limit") })
    }

    /// Ends everything of the engine at once, wherever it is: as near to kill -9 as one process allows.
    pub(crate) fn kill(&mut self, engine: Engine) {
        drop(engine);
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(10));
    }

    /// Puts the test image into the store.
    pub(crate) fn with_image(&mut self) -> Engine {
        let engine = self.open();
        self.pull(&engine);
        engine
    }

    pub(crate) fn pull(&self, engine: &Engine) {
        self.pull_from(registry(), "test/box:1", engine);
    }

    /// Puts an image into the store; gives its id.
    pub(crate) fn pull_from(&self, registry: &Registry, name: &str, engine: &Engine) -> String {
        let request = PullRequest {
            reference: format!("{}/{name}", registry.host()),
            keyring: Default::default(),
            platform: None,
            artifact: false,
        };
        self.run(engine.pull(request, Progress::none())).unwrap().id.to_string()
    }

    /// What the machine has of this engine beside files under its root.
    pub(crate) fn traces(&self) -> BTreeSet<String> {
        let mut traces = BTreeSet::new();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.path().to_str().unwrap().to_owned();
        traces.extend(mounts.lines().filter(|line| line.contains(&here)).map(str::to_owned));
        let root = self.config.cgroup_root.trim_matches('/');
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            walk(&hierarchy.path().join(root), &mut traces);
        }
        walk(&Path::new("/sys/fs/cgroup").join(root), &mut traces);
        walk(&Path::new("/sys/fs/cgroup").join(&self.config.cgroup_slice), &mut traces);
        traces.extend(self.units());
        let root = &self.config.root;
        for dir in [self.config.state.join("pods"), root.join("sandboxes"), root.join("snapshots")] {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            traces.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        traces
    }

    /// What systemd, where it runs, knows of this engine, by lines of `systemctl list-units`.
    pub(crate) fn units(&self) -> BTreeSet<String> {
        if !berth_sys::cgroup::Host::has_systemd() {
            return BTreeSet::new();
        }
        let slice = &self.config.cgroup_slice;
        let scopes = slice.replace(".slice", "-*");
        let listed = Command::new("systemctl")
            .args(["list-units", "--all", "--plain", "--no-legend", slice, &scopes])
            .output()
            .unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Purges and checks that nothing is left.
    pub(crate) fn finish(self, engine: Engine) {
        self.finish_with(engine, || ());
    }

    /// The same, with what a test has to tidy up itself before the check.
    pub(crate) fn finish_with(mut self, engine: Engine, tidy: impl FnOnce()) {
        let findings = self.run(engine.doctor());
        assert_eq!(findings, [], "the doctor finds nothing");
        let failures = self.run(engine.purge());
        assert!(failures.is_empty(), "{failures:?}");
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(10));
        tidy();
        assert_eq!(self.traces(), BTreeSet::new());
    }
}

/// A test that failed leaves nothing running either.
impl Drop for World {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        runtime.shutdown_timeout(Duration::from_secs(10));
        let traces = self.traces();
        for dir in traces.iter().rev().filter(|trace| trace.starts_with("/sys/fs/cgroup")) {
            let pids = std::fs::read_to_string(Path::new(dir).join("cgroup.procs")).unwrap_or_default();
            drop(Command::new("kill").arg("-9").args(pids.lines()).output());
            berth_testkit::wait_until(LIMIT, || std::fs::remove_dir(dir).is_ok() || !Path::new(dir).exists());
        }
        for point in traces.iter().filter_map(|trace| trace.split(' ').nth(4)) {
            drop(Command::new("umount").args(["-l", point]).output());
        }
    }
}

fn walk(dir: &Path, into: &mut BTreeSet<String>) {
    if !dir.is_dir() {
        return;
    }
    into.insert(dir.display().to_string());
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        walk(&entry.path(), into);
    }
}

/// One registry for all tests of this binary.
pub(crate) fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let mut layer = Layer::new()
            .dirs(["bin", "dev", "etc", "opt", "proc", "sys", "tmp", "var", "var/tmp"])
            .copy("bin/busybox", 0o755, "/bin/busybox")
            .file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/home:/bin/sh\n")
            .file("etc/group", 0o644, "root:x:0:\nweb:x:1000:\nextra:x:2000:web\n")
            .symlink("var/to-proc", "/proc")
            .symlink("var/to-sys", "/proc/sys")
            .file("etc/plain", 0o755, "this is no program\n")
            .file("etc/of-web", 0o640, "for web\n")
            .owner(1000, 1000)
            // With cap_net_bind_service as permitted and effective, as setcap(8) writes it.
            .copy("opt/grep", 0o755, "/bin/busybox")
            .xattr("security.capability", [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for applet in [
            "sh", "cat", "echo", "sleep", "id", "ls", "true", "false", "hostname", "env", "head", "ps",
            "seq", "kill", "mount", "ip", "wget", "grep", "touch", "pwd", "sed", "wc", "stat", "mknod",
            "chown", "mkdir", "readlink", "nc", "mkfifo",
        ] {
            layer = layer.symlink(format!("bin/{applet}"), "/bin/busybox");
        }
        let layer = layer.build(Compression::Gzip).unwrap();
        let image = Image::new(Format::Oci).layer(&layer).cmd(&["sh", "-c", "echo from the image"]).build();
        let registry = Registry::start().unwrap();
        registry.push("test/box", "1", &image);
        registry
    })
}

/// A pod of the host's network, so that nothing but the kernel is needed.
pub(crate) fn sandbox(name: &str) -> SandboxConfig {
    SandboxConfig {
        owner: Owner::Cri,
        metadata: SandboxMetadata {
            name: name.to_owned(),
            uid: "uid".to_owned(),
            namespace: "test".to_owned(),
            attempt: 0,
        },
        hostname: name.to_owned(),
        log_directory: None,
        dns: None,
        ports: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        handler: String::new(),
        cgroup_parent: None,
        namespaces: Namespaces {
            network: Network::Pod,
            pid: PidMode::Container,
            ipc: NamespaceMode::Pod,
            user: None,
        },
        names: berth_engine::model::Names::default(),
        sysctls: BTreeMap::new(),
        security: SandboxSecurity::default(),
        resources: Resources::default(),
    }
}

/// A container of the test image that runs a shell script.
pub(crate) fn script(name: &str, script: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: ContainerMetadata { name: name.to_owned(), attempt: 0 },
        image: ImageSpec {
            image: format!("{}/test/box:1", registry().host()),
            user_specified: String::new(),
            annotations: BTreeMap::new(),
        },
        command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
        args: Vec::new(),
        working_dir: None,
        envs: Vec::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        cdi_devices: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        log_path: None,
        stdin: false,
        stdin_once: false,
        tty: false,
        resources: Resources::default(),
        security: ContainerSecurity::default(),
        pid: PidMode::Container,
        stop_signal: None,
        rlimits: Vec::new(),
        storage_limit: None,
    }
}

/// A script that runs until it is told to end.
pub(crate) const WAITS: &str = "trap 'exit 7' TERM; while :; do sleep 0.05; done";

/// Waits until the container has ended.
pub(crate) async fn ended(engine: &Engine, id: &ContainerId) -> berth_engine::model::ExitView {
    let mut events = engine.events();
    loop {
        if let Some(exit) = engine.container(id.as_str()).unwrap().exit.clone() {
            return exit;
        }
        events.next().await.unwrap();
    }
}

/// Waits until a running container has a file.
pub(crate) async fn wait_for_file(engine: &Engine, id: &ContainerId, file: &str) {
    let wait = format!("until [ -e {file} ]; do sleep 0.05; done");
    engine.exec_sync(id, vec!["sh".to_owned(), "-c".to_owned(), wait], Some(LIMIT)).await.unwrap();
}

/// Creates and starts a container.
pub(crate) async fn started(engine: &Engine, pod: &SandboxId, config: ContainerConfig) -> ContainerId {
    let id = engine.create_container(pod, config).await.unwrap();
    engine.start_container(&id).await.unwrap();
    id
}
