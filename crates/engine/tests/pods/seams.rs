//! Second implementations of what an engine can be given: each interface works with more than what the engine brings along. (The
//! network's is `--network none`, which most tests here run on; that of cgroups' placement is systemd's.)

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use berth_container::plan::{self, Inputs};
use berth_engine::EngineError;
use berth_engine::model::{ContainerSecurity, EnvVar, IdMap, Resources, UserNamespace};
use berth_engine::seams::{
    Adjust, Adjustable, Adjusted, Handler, Places, Prepared, Preparing, Program, Seams, Subject,
};
use berth_testkit::require_root;
use berth_types::lifecycle::container;
use berth_types::shim::{Create, Request};
use oci_spec::runtime::{LinuxNamespaceType, Process, RootBuilder, Spec};

use crate::harness::{WAITS, World, programs, sandbox, script, started};

/// A runtime that wants a bundle on the disk, with the root file system mounted in it, and knows no cgroup of a single
/// container: as other OCI runtimes and sandboxed ones.
#[derive(Debug)]
pub(crate) struct Bundles {
    pub(crate) name: String,
    pub(crate) program: Program,
}

impl Handler for Bundles {
    fn name(&self) -> &str {
        &self.name
    }

    fn program(&self) -> &Program {
        &self.program
    }

    fn has_container_cgroups(&self) -> bool {
        false
    }

    fn has_user_namespaces(&self) -> bool {
        false
    }

    fn prepare(&self, container: Preparing<'_>) -> Result<Prepared, EngineError> {
        let failed = |what: &'static str| move |e: std::io::Error| EngineError::system(what, e);
        let root = container.places.dir.join("rootfs");
        std::fs::create_dir(&root).map_err(failed("make the root's directory"))?;
        let mounted = berth_sys::overlay::mount(&container.root);
        let mounted = mounted.map_err(|e| EngineError::system("mount the root", e))?;
        let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(mounted.as_fd(), "", rustix::fs::CWD, &root, flags)
            .map_err(|e| EngineError::system("attach the root", e))?;
        let mut spec = container.spec.clone();
        spec.set_root(Some(RootBuilder::default().path(&root).build().unwrap()));
        let bundle = container.places.dir.join("config.json");
        spec.save(&bundle).map_err(|e| EngineError::system("write the bundle", e))?;
        let spec = Spec::load(&bundle).map_err(|e| EngineError::system("read the bundle", e))?;
        let given = [LinuxNamespaceType::Network, LinuxNamespaceType::Ipc, LinuxNamespaceType::Uts];
        let (host, pod) = (container.cgroups, container.cgroups.open(container.pod));
        let cgroups = plan::cgroup_mounts(host.mode(), host.hierarchies(), &pod);
        let inputs = Inputs { given: given.to_vec(), cgroups, ..Inputs::default() };
        let plan = plan::plan(&spec, &inputs).map_err(|e| EngineError::system("plan", e))?;
        let plan = plan.encode().map_err(|e| EngineError::system("plan", e))?;
        let cgroup_dirs = pod.dirs().iter().map(|dir| dir.display().to_string()).collect();
        let create = Create { plan, cgroup_dirs, ..container.create };
        Ok(Prepared { request: Request::Create(create), fds: Vec::new() })
    }

    fn process(
        &self,
        process: &Process,
        _raw_env: &[EnvVar],
        _security: &ContainerSecurity,
        _user: Option<UserNamespace>,
    ) -> Result<Vec<u8>, EngineError> {
        let plan = plan::process(process, &Inputs::default(), false);
        let plan = plan.map_err(|e| EngineError::system("plan", e))?;
        plan.encode().map_err(|e| EngineError::system("plan", e))
    }

    fn forget(&self, places: Places<'_>) -> Result<(), EngineError> {
        match rustix::mount::unmount(places.dir.join("rootfs"), rustix::mount::UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(EngineError::system("unmount the root", e)),
        }
    }
}

fn bundles() -> Seams {
    let bundles = Bundles { name: "bundles".to_owned(), program: Program::new(programs().shim) };
    Seams { handlers: vec![Arc::new(bundles)], ..Seams::default() }
}

#[test]
fn a_pod_runs_by_another_handler_and_is_found_again() {
    require_root!();
    let mut world = World::new();
    let engine = world.open_with(bundles());
    world.pull(&engine);
    let (id, main) = world.run(async {
        let mut unknown = sandbox("unknown");
        unknown.handler = "nobody".to_owned();
        let error = engine.run_sandbox(unknown).await.unwrap_err();
        assert!(error.to_string().contains("nobody"), "{error}");
        let mut mapped = sandbox("mapped");
        mapped.handler = "bundles".to_owned();
        let ids = IdMap { container: 0, host: 300_000, length: 65_536 };
        mapped.namespaces.user = Some(UserNamespace { uids: ids, gids: ids });
        let error = engine.run_sandbox(mapped).await.unwrap_err();
        assert!(error.to_string().contains("\"bundles\" has no user namespaces"), "{error}");
        let mut config = sandbox("bundled");
        config.handler = "bundles".to_owned();
        let id = engine.run_sandbox(config).await.unwrap();
        (id.clone(), started(&engine, &id, script("main", WAITS)).await)
    });
    let dir = world.config.root.join("sandboxes").join(id.as_str()).join("containers").join(main.as_str());
    assert!(dir.join("rootfs/bin/busybox").exists());
    world.kill(engine);
    let engine = world.open_with(bundles());
    world.run(async {
        assert_eq!(engine.container(main.as_str()).unwrap().state, container::State::Running);
        let out = engine.exec_sync(&main, vec!["hostname".into()], None).await.unwrap();
        assert_eq!(out.stdout, b"bundled\n");
        let limits = Resources { pids_limit: Some(9), ..Resources::default() };
        let error = engine.update_resources(&main, limits).await.unwrap_err();
        assert!(error.to_string().contains("handler"), "{error}");
        engine.stop_container(&main, Duration::from_secs(20)).await.unwrap();
        assert_eq!(engine.container(main.as_str()).unwrap().exit.as_ref().unwrap().code, 7);
        engine.remove_container(&main).await.unwrap();
        assert!(!dir.exists());
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

/// A plugin that takes its time.
#[derive(Debug)]
struct Plugin;

impl Adjust for Plugin {
    fn listens(&self) -> bool {
        true
    }

    fn adjust<'a>(&'a self, subject: Subject<'a>, mut made: Adjustable) -> Adjusted<'a> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if subject.config.labels.contains_key("refuse") {
                return Err(EngineError::system("the plugin", std::io::Error::other("does not want it")));
            }
            let mut process = made.spec.process().clone().unwrap();
            let mut env = process.env().clone().unwrap_or_default();
            env.push(format!("ADJUSTED={}", subject.sandbox_config.metadata.name));
            process.set_env(Some(env));
            made.spec.set_process(Some(process));
            Ok(made)
        })
    }
}

#[test]
fn a_plugin_changes_what_is_prepared_and_what_exec_begins_from() {
    require_root!();
    let mut world = World::new();
    let engine = world.open_with(Seams { adjust: vec![Arc::new(Plugin)], ..Seams::default() });
    world.pull(&engine);
    world.run(async {
        let id = engine.run_sandbox(sandbox("adjusted")).await.unwrap();
        let main =
            started(&engine, &id, script("main", &format!("test $ADJUSTED = adjusted || exit 9; {WAITS}")));
        let main = main.await;
        let out = engine.exec_sync(&main, vec!["sh".into(), "-c".into(), "echo $ADJUSTED".into()], None);
        assert_eq!(out.await.unwrap().stdout, b"adjusted\n");
        let mut config = script("refused", WAITS);
        config.labels.insert("refuse".to_owned(), String::new());
        let error = engine.create_container(&id, config).await.unwrap_err();
        assert!(berth_types::error::chain(&error).contains("does not want it"), "{error:?}");
        assert_eq!(engine.sandbox(id.as_str()).unwrap().containers.len(), 1);
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}
