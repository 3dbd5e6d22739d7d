//! A node of its own: namespaces, a cgroup, a registry, a daemon and a kubelet.
//!
//! Nothing of it is the machine's. The program has mount and network namespaces of its own, in which /var/log is a
//! directory of the test and the node has one link; the kubelet's cgroups are below one that was made for it, and the
//! kernel settings that it writes are files of the test that lie over them.

mod ask;
mod cgroup;
mod config;
mod watch;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_cri::api;
use berth_testkit::guard::wait_until;
use berth_testkit::image::{Compression, Format, Image, Layer, standin};
use berth_testkit::isolated::{self, Kind};
use berth_testkit::{Daemon, Registry};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Pid, Signal};

use crate::http;
use crate::view::{Pod, Pods};
use cgroup::Cgroup;
pub use config::Settings;
use watch::Watch;

/// The longest wait for anything. Generous, since it costs time only when a test fails.
pub const LIMIT: Duration = Duration::from_secs(150);
/// A shell and every applet.
pub const BUSYBOX: &str = standin::BUSYBOX;
/// Kubernetes' own image of servers for tests.
pub const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.53";
/// Where the kubelet answers without a certificate.
const READ_ONLY: &str = "127.0.0.1:10255";

/// What the node runs.
#[derive(Debug, Clone)]
pub struct Programs {
    pub berth: PathBuf,
    pub kubelet: PathBuf,
    pub agnhost: PathBuf,
}

pub struct Node {
    daemon: Mutex<Daemon>,
    kubelet: Mutex<Option<Child>>,
    programs: Programs,
    watch: Watch,
    cgroup: Cgroup,
    // Below, what must outlive the processes.
    _registry: Registry,
    dir: tempfile::TempDir,
}

/// Puts the calling thread and all that it starts in surroundings that are not the machine's.
pub fn enter() -> anyhow::Result<()> {
    isolated::enter(&[Kind::Mount, Kind::Network])?;
    // As under systemd: what one of the node's programs mounts is seen by the others.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)?;
    for line in [
        "link add node0 type veth peer name uplink0",
        "link set uplink0 up",
        "address add 192.0.2.1/24 dev node0",
        "link set node0 up",
        "route add default via 192.0.2.254 dev node0",
    ] {
        let status = Command::new("ip").args(line.split(' ')).status()?;
        anyhow::ensure!(status.success(), "ip {line}: {status}");
    }
    Ok(())
}

impl Node {
    pub fn start(programs: Programs) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("berth-node-").tempdir()?;
        for name in ["log", "manifests", "kubelet", "shared"] {
            std::fs::create_dir(dir.path().join(name))?;
        }
        mount_bind(dir.path().join("log"), "/var/log")?;
        let cgroup = Cgroup::make(&format!("berth-node-{}", std::process::id()))?;
        let registry = Registry::start()?;
        standin::publish_busybox(&registry)?;
        let layer = Layer::new().dirs(["tmp"]).copy("agnhost", 0o755, &programs.agnhost);
        let agnhost = Image::new(Format::Oci).layer(&layer.build(Compression::Plain)?);
        registry.push("e2e-test-images/agnhost", "2.53", &agnhost.entrypoint(&["/agnhost"]).build());
        let daemon = Daemon::builder(&programs.berth)?.mirrors(&registry)?;
        let daemon = daemon.arguments(["--log-level", "debug"]).start()?;
        let node = Self {
            daemon: Mutex::new(daemon),
            kubelet: Mutex::new(None),
            programs,
            watch: Watch::start(READ_ONLY),
            cgroup,
            _registry: registry,
            dir,
        };
        node.start_kubelet(&Settings::default())?;
        Ok(node)
    }

    /// The daemon, for one caller at a time.
    pub fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the cgroup that pods are below, from the root of a hierarchy.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A directory of the node for one pod: `SHARED` in its manifest.
    pub fn shared(&self, pod: &str) -> PathBuf {
        let dir = self.dir.path().join("shared").join(pod);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// The lines of a file in that directory; none when it does not exist yet.
    pub fn lines(&self, pod: &str, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.shared(pod).join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Where the kubelet keeps the volumes of a pod.
    pub fn volume(&self, pod: &Pod, kind: &str, name: &str) -> PathBuf {
        let volumes = self.dir.path().join("kubelet/pods").join(pod.uid()).join("volumes");
        volumes.join(format!("kubernetes.io~{kind}")).join(name)
    }

    /// Makes or changes a static pod: its `spec`, in which some words stand for images and the shared directory.
    pub fn apply(&self, name: &str, spec: &str) {
        let spec = spec.replace("BUSYBOX", BUSYBOX).replace("AGNHOST", AGNHOST);
        let spec = spec.replace("SHARED", &self.shared(name).display().to_string());
        let text =
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\n{spec}");
        // The kubelet may look at any moment.
        let whole = self.dir.path().join(format!("manifest-{name}"));
        std::fs::write(&whole, text).unwrap();
        std::fs::rename(whole, self.manifest(name)).unwrap();
    }

    /// Removes a static pod.
    pub fn delete(&self, name: &str) {
        std::fs::remove_file(self.manifest(name)).unwrap();
    }

    /// Removes a static pod and waits until nothing of it runs.
    #[track_caller]
    pub fn end(&self, name: &str) {
        let pod = self.pod(name, "the pod is known", |_| true);
        self.delete(name);
        // The kubelet forgets a static pod before it has ended.
        let running = api::ContainerState::ContainerRunning as i32;
        self.wait("nothing of the pod runs", name, |pods| {
            let known = pods.get(name).is_some();
            (!known && self.containers(&pod).iter().all(|c| c.state != running)).then_some(())
        });
    }

    pub fn manifests(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("manifests")).unwrap();
        let stem = |entry: std::fs::DirEntry| Some(entry.path().file_stem()?.to_str()?.to_owned());
        entries.filter_map(|entry| stem(entry.unwrap())).collect()
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.dir.path().join("manifests").join(format!("{name}.yaml"))
    }

    /// Waits until `look` finds something among the kubelet's pods, or elsewhere: it is asked at every new look.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, pod: &str, look: impl FnMut(&Pods) -> Option<T>) -> T {
        match self.watch.wait(LIMIT, look) {
            Ok(found) => found,
            Err(last) => panic!("{what}: not within {LIMIT:?}: {:#?}\n{}", last.get(pod), self.told(pod)),
        }
    }

    /// Waits until a pod is as wanted; the pod.
    #[track_caller]
    pub fn pod(&self, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        self.wait(what, name, |pods| pods.get(name).filter(|pod| wanted(pod)).cloned())
    }

    /// Waits until all containers of a pod are ready.
    #[track_caller]
    pub fn ready(&self, name: &str) -> Pod {
        self.pod(name, "the pod is ready", Pod::is_ready)
    }

    /// What the kubelet answers at a path.
    pub fn ask(&self, path: &str) -> std::io::Result<String> {
        http::get(READ_ONLY, path)
    }

    /// Starts a kubelet and waits until it answers.
    pub fn start_kubelet(&self, settings: &Settings) -> anyhow::Result<()> {
        self.launch_kubelet(settings)?;
        self.kubelet_answers(settings)
    }

    /// Waits until it does. One that has met no runtime ends itself, and is started again as service managers do.
    pub fn kubelet_answers(&self, settings: &Settings) -> anyhow::Result<()> {
        let answers = wait_until(LIMIT, || {
            if self.kubelet_has_ended() {
                self.launch_kubelet(settings).ok();
            }
            self.ask("/healthz").is_ok_and(|text| text == "ok")
        });
        anyhow::ensure!(answers, "the kubelet does not answer:\n{}", self.told(""));
        Ok(())
    }

    fn kubelet_has_ended(&self) -> bool {
        let mut kubelet = self.kubelet.lock().unwrap_or_else(PoisonError::into_inner);
        kubelet.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_some()))
    }

    /// Starts a kubelet without waiting.
    pub fn launch_kubelet(&self, settings: &Settings) -> anyhow::Result<()> {
        let config = self.dir.path().join("config.yaml");
        std::fs::write(
            &config,
            settings.document(self.path(), &self.daemon().endpoint(), self.cgroup.name()),
        )?;
        let log = std::fs::File::options().create(true).append(true).open(self.path().join("kubelet.log"))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "unchanged", "sh", "-ec", OVER_SETTINGS, "sh"]);
        command.arg(self.path()).arg(&self.programs.kubelet);
        command.args(["--hostname-override=node", "--node-ip=192.0.2.1", "--v=4"]);
        command.arg(format!("--config={}", config.display()));
        command.arg(format!("--root-dir={}", self.path().join("kubelet").display()));
        command.arg(format!("--cert-dir={}", self.path().join("certificates").display()));
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).spawn()?;
        *self.kubelet.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(())
    }

    /// Ends the kubelet as a crash does.
    pub fn kill_kubelet(&self) {
        let child = self.kubelet.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut child) = child else { return };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).ok();
        child.wait().unwrap();
        self.watch.forget();
    }

    /// Keeps what kubelet and daemon have said beyond the node's end.
    pub fn keep_logs(&self) {
        let to = std::env::temp_dir().join("kubelet-test-logs");
        std::fs::create_dir_all(&to).ok();
        std::fs::copy(self.path().join("kubelet.log"), to.join("kubelet.log")).ok();
        std::fs::copy(self.daemon().dir().join("log"), to.join("daemon.log")).ok();
    }

    /// The last of what kubelet and daemon have said about something.
    fn told(&self, about: &str) -> String {
        let log = std::fs::read_to_string(self.path().join("kubelet.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(about)).collect();
        let kubelet = lines[lines.len().saturating_sub(60)..].join("\n");
        let log = std::fs::read_to_string(self.daemon().dir().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        format!("kubelet:\n{kubelet}\ndaemon:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

/// Starts a kubelet that finds the kernel settings as it wants them, in files of the directory `$1`, and that reads and writes
/// no others.
const OVER_SETTINGS: &str = r#"
dir=$1; shift
mount --make-private /proc
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
	kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
	file=$dir/setting-$(basename "${setting%=*}")
	echo "${setting#*=}" >"$file"
	mount --bind "$file" "/proc/sys/${setting%=*}"
done
exec "$@"
"#;

impl Drop for Node {
    fn drop(&mut self) {
        self.kill_kubelet();
        if std::env::var_os("BERTH_KEEP_LOGS").is_some() {
            self.keep_logs();
        }
        self.daemon().purge().ok();
        // Volumes in memory that the kubelet had mounted.
        let here = self.path().to_owned();
        for mounted in berth_sys::mount::mounted().unwrap_or_default().iter().rev() {
            if mounted.point.starts_with(&here) {
                rustix::mount::unmount(&mounted.point, rustix::mount::UnmountFlags::DETACH).ok();
            }
        }
    }
}

/// Mounts a file system in memory there.
pub fn mount_memory(at: &Path) {
    mount("none", at, "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>).unwrap();
}
