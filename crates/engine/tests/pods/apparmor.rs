//! AppArmor, on a kernel that has it in force: what containers get, and what that forbids them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_engine::Engine;
use berth_engine::model::{
    APPARMOR_DEFAULT, APPARMOR_UNCONFINED, ContainerConfig, ContainerSecurity, PidMode,
};
use berth_testkit::{require, require_root};
use berth_types::{Classify, ContainerId, Kind};

use crate::harness::{WAITS, World, sandbox, script, started};

const PARSER: &str = "/usr/sbin/apparmor_parser";
/// A setting of the pod's own IPC namespace, which root in it may write unless a profile forbids it.
const SETTING: &str = "echo 4096 >/proc/sys/kernel/msgmax";

/// A profile of a test's own, loaded until it is dropped.
struct Profile(String);

impl Profile {
    fn load() -> Self {
        let profile = Self(format!("berth-test-{}", std::process::id()));
        profile.parser("--replace");
        profile
    }

    fn parser(&self, command: &str) {
        let text = format!("profile {} {{ file, capability, signal, deny /tmp/forbidden w, }}", self.0);
        let mut child = Command::new(PARSER)
            .args([command, "--skip-cache"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "apparmor_parser {command}");
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("--remove");
    }
}

fn can_run() -> bool {
    berth_sys::apparmor::in_force() && Path::new(PARSER).exists()
}

fn with(profile: Option<&str>, config: ContainerConfig) -> ContainerConfig {
    let security = ContainerSecurity { apparmor: profile.map(str::to_owned), ..config.security };
    ContainerConfig { security, ..config }
}

/// What a shell in the container says, and its status.
async fn shell(engine: &Engine, id: &ContainerId, line: &str) -> (String, i32) {
    let argv = ["sh", "-c", line].map(str::to_owned).to_vec();
    let out = engine.exec_sync(id, argv, None).await.unwrap();
    (String::from_utf8_lossy(&out.stdout).into_owned(), out.code)
}

/// The profiles of the main process and of one that is run in its container.
async fn profiles(engine: &Engine, id: &ContainerId) -> String {
    let pid = engine.container(id.as_str()).unwrap().pid.unwrap();
    let main = std::fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current")).unwrap();
    let further = shell(engine, id, "cat /proc/self/attr/apparmor/current").await.0;
    format!("{} {}", main.trim(), further.trim())
}

#[test]
fn a_container_without_a_word_runs_in_the_default_profile() {
    require_root!();
    require!(can_run(), "needs AppArmor in force and apparmor_parser (package apparmor)");
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let mut config = sandbox("default");
        config.namespaces.pid = PidMode::Pod;
        let pod = engine.run_sandbox(config).await.unwrap();
        let mut shared = script("shared", WAITS);
        shared.pid = PidMode::Pod;
        let mut without_new = with(Some(APPARMOR_DEFAULT), script("asked", WAITS));
        without_new.security.no_new_privs = true;
        for config in [script("silent", WAITS), shared, without_new] {
            let name = config.metadata.name.clone();
            let id = started(&engine, &pod, config).await;
            let got = profiles(&engine, &id).await;
            assert_eq!(got, "berth-default (enforce) berth-default (enforce)", "{name}");
            assert_ne!(shell(&engine, &id, SETTING).await.1, 0, "{name}");
            assert_eq!(shell(&engine, &id, "echo x >/tmp/fine && cat /tmp/fine").await, ("x\n".into(), 0));
            assert_eq!(shell(&engine, &id, "sleep 100 & kill -TERM $!; wait $!").await.1, 143, "{name}");
            // The runtime's signal arrives: it exits by its own trap.
            engine.stop_container(&id, Duration::from_secs(20)).await.unwrap();
            assert_eq!(engine.container(id.as_str()).unwrap().exit.as_ref().unwrap().code, 7, "{name}");
        }
        let told = engine.confinements();
        assert!(told.iter().any(|of| of.module == "AppArmor" && of.confined), "{told:?}");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
fn the_default_profile_forbids_mounts_that_the_capability_would_allow() {
    require_root!();
    require!(can_run(), "needs AppArmor in force and apparmor_parser (package apparmor)");
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("mounts")).await.unwrap();
        for (profile, allowed) in [(None, false), (Some(APPARMOR_UNCONFINED), true)] {
            let name = if allowed { "free" } else { "confined" };
            let mut config = with(profile, script(name, WAITS));
            config.security.add_capabilities = vec!["SYS_ADMIN".to_owned()];
            let id = started(&engine, &pod, config).await;
            let mount = shell(&engine, &id, "mount -t tmpfs none /var/tmp").await.1 == 0;
            assert_eq!(mount, allowed, "{name}");
        }
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
fn unconfined_privileged_and_named_profiles_are_obeyed() {
    require_root!();
    require!(can_run(), "needs AppArmor in force and apparmor_parser (package apparmor)");
    let mut world = World::new();
    let engine = world.with_image();
    let profile = Profile::load();
    world.run(async {
        let mut config = sandbox("named");
        config.security.privileged = true;
        let pod = engine.run_sandbox(config).await.unwrap();
        let free = started(&engine, &pod, with(Some(APPARMOR_UNCONFINED), script("free", WAITS))).await;
        assert_eq!(profiles(&engine, &free).await, "unconfined unconfined");
        assert_eq!(shell(&engine, &free, SETTING).await.1, 0);
        let mut privileged = script("privileged", WAITS);
        privileged.security.privileged = true;
        let privileged = started(&engine, &pod, privileged).await;
        assert_eq!(profiles(&engine, &privileged).await, "unconfined unconfined");
        let named = started(&engine, &pod, with(Some(&profile.0), script("named", WAITS))).await;
        let wanted = format!("{} (enforce)", profile.0);
        assert_eq!(profiles(&engine, &named).await, format!("{wanted} {wanted}"));
        let forbidden = "touch /tmp/fine && ! touch /tmp/forbidden";
        assert_eq!(shell(&engine, &named, forbidden).await.1, 0);
        let unknown = with(Some("berth-no-such-profile"), script("unknown", WAITS));
        let error = engine.create_container(&pod, unknown).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("\"berth-no-such-profile\" is not loaded"), "{text}");
        assert_eq!(error.kind(), Kind::Unsupported);
        assert_eq!(engine.sandbox(pod.as_str()).unwrap().containers.len(), 3);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    drop(profile);
    world.finish(engine);
}
