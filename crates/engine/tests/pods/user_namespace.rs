//! Pods with user namespaces: what belongs to whom, inside and outside.

pub(crate) mod files;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use berth_engine::model::{
    ContainerConfig, Device, IdMap, Network, PidMode, SandboxConfig, User, UserNamespace,
};
use berth_engine::{Engine, ExecRequest};
use berth_testkit::require_root;
use berth_types::{Classify, ContainerId, Kind, SandboxId};
use tokio::io::AsyncReadExt as _;

use crate::harness::{LIMIT, WAITS, World, is_native, sandbox, script, started};

/// The host's id of the pods' roots.
const FIRST: u32 = 300_000;

fn maps(host: u32) -> UserNamespace {
    let map = IdMap { container: 0, host, length: 65_536 };
    UserNamespace { uids: map, gids: map }
}

fn pod(name: &str) -> SandboxConfig {
    pod_of(name, FIRST)
}

fn pod_of(name: &str, host: u32) -> SandboxConfig {
    let mut config = sandbox(name);
    config.namespaces.user = Some(maps(host));
    config
}

async fn says(engine: &Engine, id: &ContainerId, line: &str) -> String {
    let argv = ["sh", "-c", line].map(str::to_owned).to_vec();
    let out = engine.exec_sync(id, argv, None).await.unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn pid(engine: &Engine, id: &ContainerId) -> i32 {
    engine.container(id.as_str()).unwrap().pid.unwrap()
}

fn namespace(pid: i32, kind: &str) -> u64 {
    std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).unwrap().ino()
}

/// The kinds of namespaces of a process that belong to its user namespace.
fn owned(pid: i32) -> Vec<String> {
    let user = namespace(pid, "user").to_string();
    let mut owned = Vec::new();
    // It looks at all processes, and gives up when one of them ends meanwhile.
    let listed = berth_testkit::wait_until(LIMIT, || {
        let listed =
            Command::new("lsns").args(["-n", "-o", "TYPE,ONS", "-p", &pid.to_string()]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let kinds = listed.lines().filter_map(|line| line.split_once(char::is_whitespace));
        owned = kinds.filter(|(_, owner)| owner.trim() == user).map(|(kind, _)| kind.to_owned()).collect();
        !listed.is_empty()
    });
    assert!(listed, "lsns lists the namespaces of {pid}");
    owned.sort();
    owned
}

fn on_disk(path: &Path) -> (u32, u32) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn upper(world: &World, id: &ContainerId) -> std::path::PathBuf {
    world.config.root.join("snapshots").join(id.as_str()).join("upper")
}

async fn refused(engine: &Engine, pod: &SandboxId, config: ContainerConfig) -> (Kind, String) {
    let error = engine.create_container(pod, config).await.unwrap_err();
    (error.kind(), berth_types::error::chain(&error))
}

/// contract 19: the pod's namespaces belong to its user namespace, and those of its containers lie in it.
#[test]
pub(crate) fn contract_19_every_namespace_of_the_pod_belongs_to_its_user_namespace() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let mut shared = pod("shared");
        shared.namespaces.pid = PidMode::Pod;
        for config in [pod("own"), shared] {
            let mode = config.namespaces.pid.clone();
            let id = engine.run_sandbox(config).await.unwrap();
            let of_mode = |name: &str| ContainerConfig { pid: mode.clone(), ..script(name, WAITS) };
            let one = started(&engine, &id, of_mode("one")).await;
            let two = started(&engine, &id, of_mode("two")).await;
            let mut debug = script("debug", WAITS);
            debug.pid = PidMode::Target(one.to_string());
            let debug = started(&engine, &id, debug).await;
            for container in [&one, &two, &debug] {
                let wanted: &[&str] = if engine_is_unified() {
                    &["cgroup", "ipc", "mnt", "net", "pid", "uts"]
                } else {
                    &["ipc", "mnt", "net", "pid", "uts"]
                };
                assert_eq!(owned(pid(&engine, container)), wanted);
            }
            let (one, two, debug) = (pid(&engine, &one), pid(&engine, &two), pid(&engine, &debug));
            let own = std::process::id().cast_signed();
            assert_ne!(namespace(one, "user"), namespace(own, "user"));
            for kind in ["user", "net", "ipc", "uts"] {
                assert_eq!(namespace(one, kind), namespace(two, kind), "{kind}");
            }
            assert_eq!(namespace(one, "pid") == namespace(two, "pid"), mode == PidMode::Pod);
            assert_eq!(namespace(one, "pid"), namespace(debug, "pid"));
            engine.remove_sandbox(&id).await.unwrap();
        }
    });
    world.finish(engine);
}

fn engine_is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[test]
pub(crate) fn streams_terminals_and_users_work_in_main_processes_and_further_ones() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let logs = tempfile::tempdir().unwrap();
    world.run(async {
        let mut config = pod("streams");
        config.log_directory = Some(logs.path().to_owned());
        let id = engine.run_sandbox(config).await.unwrap();
        let open = "echo out >/dev/stdout; echo err >/proc/self/fd/2";
        let mut config = script("web", &format!("{open}; {WAITS}"));
        config.security.user = Some(User::Name("web".to_owned()));
        config.log_path = Some("web.log".into());
        let web = started(&engine, &id, config).await;
        let log = logs.path().join("web.log");
        berth_testkit::wait_until(LIMIT, || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains("out") && text.contains("err"))
        });
        assert_eq!(
            says(&engine, &web, &format!("{open}; id -u; id -G")).await,
            "out\n1000\n1000 2000\nerr\n"
        );
        let as_root = ExecRequest {
            argv: ["sh", "-c", "echo as root >/dev/stdout; id -u"].map(str::to_owned).to_vec(),
            user: Some("0".to_owned()),
            ..ExecRequest::default()
        };
        let mut session = engine.exec(&web, as_root).await.unwrap();
        let mut text = String::new();
        session.stdout.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), session.ending.wait().await.unwrap().code), ("as root\n0\n", 0));
        let on_tty = ExecRequest {
            argv: ["sh", "-c", "test -t 0 && echo on $(readlink /proc/self/fd/0) >/dev/tty"]
                .map(str::to_owned)
                .to_vec(),
            tty: true,
            ..ExecRequest::default()
        };
        let mut session = engine.exec(&web, on_tty).await.unwrap();
        let mut text = String::new();
        session.stdout.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), session.ending.wait().await.unwrap().code), ("on /dev/pts/0\r\n", 0));
        let mut tty = script("tty", &format!("stat -c %u:%g $(readlink /proc/self/fd/0); {WAITS}"));
        tty.tty = true;
        tty.log_path = Some("tty.log".into());
        started(&engine, &id, tty).await;
        let log = logs.path().join("tty.log");
        berth_testkit::wait_until(LIMIT, || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains("0:5"))
        });
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn devices_are_bound_and_none_can_be_made() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let mut config = pod("devices");
        config.security.privileged = true;
        let id = engine.run_sandbox(config).await.unwrap();
        let mut config = script("main", WAITS);
        config.devices = vec![Device {
            container_path: "/dev/other".into(),
            host_path: "/dev/zero".into(),
            permissions: "rw".to_owned(),
            node: None,
        }];
        config.security.add_capabilities = vec!["ALL".to_owned()];
        let main = started(&engine, &id, config).await;
        let look = "echo x >/dev/null && head -c 3 /dev/other | wc -c; head -c 2 /dev/urandom | wc -c; \
                    mknod /tmp/sda b 8 0; chown 0 /dev/null; mount -o remount,dev,exec /dev/null";
        let said = says(&engine, &main, look).await;
        assert!(said.starts_with("3\n2\n"), "{said}");
        assert_eq!(
            said.matches("Operation not permitted").count() + said.matches("ermission denied").count(),
            3,
            "{said}"
        );
        let mut privileged = script("privileged", WAITS);
        privileged.security.privileged = true;
        let privileged = started(&engine, &id, privileged).await;
        let said = says(
            &engine,
            &privileged,
            "head -c 2 /dev/zero | wc -c; mount -t tmpfs none /tmp && echo mounted; \
                    echo 1 >/proc/sys/kernel/panic; echo 1 >/proc/sys/vm/drop_caches",
        )
        .await;
        assert!(said.starts_with("2\nmounted\n"), "{said}");
        // Its rights are those of its user namespace.
        assert_eq!(said.matches("ermission denied").count(), 2, "{said}");
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn the_hosts_network_goes_with_a_read_only_sysfs_of_the_host() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let mut config = pod("host-network");
        config.namespaces.network = Network::Host;
        config.hostname = String::new();
        let id = engine.run_sandbox(config).await.unwrap();
        let main = started(&engine, &id, script("main", WAITS)).await;
        let own = std::process::id().cast_signed();
        assert_eq!(namespace(pid(&engine, &main), "net"), namespace(own, "net"));
        let mounts = says(&engine, &main, "grep ' /sys' /proc/self/mountinfo").await;
        let mut seen = 0;
        // Where other runtimes put the hierarchies of cgroup v1 may be a tmpfs of the container's own.
        for line in mounts.lines().filter(|line| is_native() || !line.contains(" - tmpfs ")) {
            assert!(line.split(' ').nth(5).is_some_and(|options| options.starts_with("ro,")), "{line}");
            seen += 1;
        }
        assert!(seen >= 2, "{mounts}");
        let said = says(
            &engine,
            &main,
            "ls /sys/class/net | grep -c lo; echo 1 >/sys/kernel/mm/ksm/run; mkdir /sys/x",
        )
        .await;
        assert!(said.starts_with("1\n"), "{said}");
        assert_eq!(
            said.matches("Read-only file system").count() + said.matches("Permission denied").count(),
            2,
            "{said}"
        );
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

/// contract 17: low ports and pings need no right; sysctls of the pod's own namespaces are set.
#[test]
pub(crate) fn contract_17_sysctls_low_ports_and_pings_are_the_pods() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        for mut config in [pod("mapped"), sandbox("host")] {
            let name = config.metadata.name.clone();
            config.sysctls = [("net.ipv4.ip_forward", "1"), ("kernel.msgmax", "4321"), ("net.ipv4.tcp_keepalive_time", "77")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
            let id = engine.run_sandbox(config).await.unwrap();
            let mut config = script("main", WAITS);
            config.security.user = Some(User::Id(1000));
            config.security.drop_capabilities = vec!["ALL".to_owned()];
            let main = started(&engine, &id, config).await;
            let look = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/ipv4/tcp_keepalive_time \
                        /proc/sys/net/ipv4/ip_unprivileged_port_start; hostname; \
                        (nc -l -p 80 </dev/null & ); until echo hi | nc -w 1 127.0.0.1 80 2>/dev/null; do :; done; echo low";
            assert_eq!(says(&engine, &main, look).await.replace("hi\n", ""), format!("1\n4321\n77\n0\n{name}\nlow\n"));
            // As the host sees it: in the pod its ids are others.
            let target = pid(&engine, &main).to_string();
            let range = Command::new("nsenter")
                .args(["-t", &target, "-n", "cat", "/proc/sys/net/ipv4/ping_group_range"])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&range.stdout), "0\t2147483647\n", "{name}");
            engine.remove_sandbox(&id).await.unwrap();
        }
        assert_ne!(std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), "4321\n");
    });
    world.finish(engine);
}

#[test]
pub(crate) fn a_restarted_daemon_goes_on_with_the_pod() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let (id, main) = world.run(async {
        let mut config = pod("restart");
        config.namespaces.pid = PidMode::Pod;
        let id = engine.run_sandbox(config).await.unwrap();
        let config = ContainerConfig { pid: PidMode::Pod, ..script("before", WAITS) };
        (id.clone(), started(&engine, &id, config).await)
    });
    world.kill(engine);
    let engine = world.open();
    world.run(async {
        assert_eq!(engine.sandbox(id.as_str()).unwrap().config.namespaces.user, Some(maps(FIRST)));
        assert_eq!(says(&engine, &main, "id -u; stat -c %u /etc/of-web").await, "0\n1000\n");
        let config = ContainerConfig { pid: PidMode::Pod, ..script("after", WAITS) };
        let after = started(&engine, &id, config).await;
        assert_eq!(
            says(&engine, &after, "id -u; stat -c %u /etc/of-web; echo x >/new; cat /proc/1/comm").await,
            "0\n1000\nberth-init\n"
        );
        assert_eq!(namespace(pid(&engine, &main), "user"), namespace(pid(&engine, &after), "user"));
        assert_eq!(on_disk(&upper(&world, &after).join("new")), (FIRST, FIRST));
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn what_the_user_namespace_does_not_have_is_refused_by_name() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        // They are announced where all of a pod's volumes can have one, those in memory too.
        assert_eq!(engine.has_user_namespaces().await, files::idmaps_tmpfs());
        let mut small = pod("small");
        let map = IdMap { container: 0, host: FIRST, length: 4 };
        small.namespaces.user = Some(UserNamespace { uids: map, gids: map });
        let id = engine.run_sandbox(small).await.unwrap();
        let mut web = script("web", WAITS);
        web.security.user = Some(User::Name("web".to_owned()));
        let (kind, text) = refused(&engine, &id, web).await;
        assert!(text.contains("user id 1000 is not in the pod's user namespace, which has 4"), "{text}");
        assert_eq!(kind, Kind::Invalid);
        let host = ContainerConfig { pid: PidMode::Node, ..script("host", WAITS) };
        assert!(refused(&engine, &id, host).await.1.contains("host's PID namespace"));
        // Without a group tty the terminals are root's.
        let main = started(&engine, &id, script("main", WAITS)).await;
        assert_eq!(
            says(&engine, &main, "id -u; stat -c %u:%g /etc/of-web /bin/busybox").await,
            "0\n65534:65534\n0:0\n"
        );
        let error = engine.exec(
            &main,
            ExecRequest {
                user: Some("web".to_owned()),
                argv: vec!["id".to_owned()],
                ..ExecRequest::default()
            },
        );
        let text = error.await.unwrap_err().to_string();
        assert!(text.contains("user id 1000"), "{text}");
        engine.remove_sandbox(&id).await.unwrap();
        let mut host = pod("host-pid");
        host.namespaces.pid = PidMode::Node;
        let error = engine.run_sandbox(host).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert_eq!(engine.sandboxes(None).len(), 0);
    });
    world.finish(engine);
}
