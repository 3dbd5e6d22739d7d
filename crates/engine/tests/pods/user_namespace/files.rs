//! Whose files are: those of images, of containers and of volumes.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use berth_engine::model::{Mount, User, UserNamespace};
use berth_testkit::require_root;
use rustix::mount::{MountFlags, UnmountFlags};

use super::{FIRST, maps, on_disk, pid, pod, pod_of, refused, says, upper};
use crate::harness::{WAITS, World, sandbox, script, started};

/// As a kubelet mounts a volume: with the maps of the pod.
fn volume(host_path: &Path, place: &str) -> Mount {
    let UserNamespace { uids, gids } = maps(FIRST);
    Mount { uids: vec![uids], gids: vec![gids], ..Mount::new(host_path, place) }
}

/// Whether the kernel idmaps a tmpfs.
pub(super) fn idmaps_tmpfs() -> bool {
    berth_sys::kernel::version() >= (6, 3)
}

#[test]
pub(crate) fn files_are_the_containers_inside_and_the_mapped_ids_outside() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let id = engine.run_sandbox(pod("files")).await.unwrap();
        let main = started(&engine, &id, script("main", WAITS)).await;
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid(&engine, &main))).unwrap();
        assert!(status.contains(&format!("Uid:\t{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}")), "{status}");
        let owners = "stat -c %n:%u:%g / /bin/busybox /etc/of-web /etc/hosts /etc/hostname /etc/resolv.conf /dev/shm \
                      /dev /dev/pts /proc/1 /tmp; id -u";
        assert_eq!(
            says(&engine, &main, owners).await,
            "/:0:0\n/bin/busybox:0:0\n/etc/of-web:1000:1000\n/etc/hosts:0:0\n/etc/hostname:0:0\n\
             /etc/resolv.conf:0:0\n/dev/shm:0:0\n/dev:0:0\n/dev/pts:0:0\n/proc/1:0:0\n/tmp:0:0\n0\n"
        );
        // Everything of its own can be written; what is the image's is copied up with its owner.
        let write = "echo x >/made && echo x >>/etc/of-web && chown 7:8 /made && echo '1.2.3.4 a' >>/etc/hosts \
                     && echo x >/dev/shm/s && mkdir /dev/mqueue/../new && stat -c %a /dev/shm && cat /etc/of-web";
        assert_eq!(says(&engine, &main, write).await, "1777\nfor web\nx\n");
        let upper = upper(&world, &main);
        assert_eq!(on_disk(&upper), (FIRST, FIRST));
        assert_eq!(on_disk(&upper.join("made")), (FIRST + 7, FIRST + 8));
        assert_eq!(on_disk(&upper.join("etc/of-web")), (FIRST + 1000, FIRST + 1000));
        // The image's layers are as they were.
        let other = started(&engine, &id, script("other", WAITS)).await;
        assert_eq!(says(&engine, &other, "cat /etc/of-web; cat /dev/shm/s").await, "for web\nx\n");
        let mut host = sandbox("plain");
        host.metadata.name = "plain".to_owned();
        let plain = engine.run_sandbox(host).await.unwrap();
        let plain = started(&engine, &plain, script("plain", WAITS)).await;
        assert_eq!(says(&engine, &plain, "stat -c %u:%g /etc/of-web /bin/busybox").await, "1000:1000\n0:0\n");
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

/// A capability of a file in an image holds for a user of the pod.
#[test]
pub(crate) fn capabilities_of_an_images_files_work() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        for config in [pod("mapped"), sandbox("host")] {
            let name = config.metadata.name.clone();
            let id = engine.run_sandbox(config).await.unwrap();
            let mut config = script("main", WAITS);
            config.security.user = Some(User::Id(1000));
            let main = started(&engine, &id, config).await;
            assert_eq!(
                says(&engine, &main, "/opt/grep CapEff /proc/self/status; grep CapEff /proc/self/status")
                    .await,
                "CapEff:\t0000000000000400\nCapEff:\t0000000000000000\n",
                "{name}"
            );
            engine.remove_sandbox(&id).await.unwrap();
        }
    });
    world.finish(engine);
}

#[test]
pub(crate) fn volumes_keep_their_owners_with_the_mounts_below_them() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let dir = tempfile::tempdir().unwrap();
    let volume_dir = dir.path().join("volume");
    let below = volume_dir.join("below");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::write(volume_dir.join("roots"), "r").unwrap();
    std::fs::write(volume_dir.join("webs"), "w").unwrap();
    chown(volume_dir.join("webs"), Some(1000), Some(1000)).unwrap();
    let other = tempfile::tempdir().unwrap();
    let _below =
        if idmaps_tmpfs() { Mounted::of_kind("tmpfs", &below) } else { Mounted::bind(other.path(), &below) };
    std::fs::write(below.join("secret"), "s").unwrap();
    std::fs::set_permissions(below.join("secret"), std::fs::Permissions::from_mode(0o400)).unwrap();
    world.run(async {
        let id = engine.run_sandbox(pod("volumes")).await.unwrap();
        let mut config = script("main", WAITS);
        let without = Mount { readonly: true, ..Mount::new(&volume_dir, "/plain") };
        config.mounts = vec![volume(&volume_dir, "/volume"), without];
        let main = started(&engine, &id, config).await;
        let look = "cd /volume; stat -c %n:%u:%g . roots webs below/secret; cat below/secret; echo; \
                    echo x >made; echo x >below/made; chown 1000:1000 made; stat -c %u /plain/roots";
        assert_eq!(
            says(&engine, &main, look).await,
            ".:0:0\nroots:0:0\nwebs:1000:1000\nbelow/secret:0:0\ns\n65534\n"
        );
        assert_eq!(on_disk(&volume_dir.join("made")), (1000, 1000));
        assert_eq!(on_disk(&below.join("made")), (0, 0));
        // The host's own mount is as it was.
        assert_eq!(on_disk(&volume_dir.join("roots")), (0, 0));
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn a_volume_that_cannot_be_idmapped_is_refused_with_its_file_system() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let _below = Mounted::of_kind("ramfs", &below);
    world.run(async {
        let id = engine.run_sandbox(pod("ramfs")).await.unwrap();
        for (place, name) in [(dir.path(), "above"), (below.as_path(), "itself")] {
            let mut config = script(name, WAITS);
            config.mounts = vec![volume(place, "/volume")];
            let (_, text) = refused(&engine, &id, config).await;
            let words = format!("{} is a file system of type ramfs that cannot be idmapped", below.display());
            assert!(text.contains(&words), "{name}: {text}");
        }
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

/// A file that one pod made for itself alone is nobody's in another, wherever it lies.
#[test]
pub(crate) fn the_root_of_one_pod_is_nobody_to_another() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    world.run(async {
        let mut containers = Vec::new();
        for (name, host) in [("one", FIRST), ("two", FIRST + 65_536)] {
            let id = engine.run_sandbox(pod_of(name, host)).await.unwrap();
            let mut config = script(name, WAITS);
            config.mounts = vec![Mount::new(dir.path(), "/both")];
            config.security.add_capabilities = vec!["ALL".to_owned()];
            containers.push(started(&engine, &id, config).await);
        }
        let [one, two] = &containers[..] else { panic!("two containers") };
        assert_eq!(
            says(&engine, one, "umask 077; echo mine >/both/secret; cat /both/secret").await,
            "mine\n"
        );
        let taken = says(
            &engine,
            two,
            "cat /both/secret; rm /both/secret; echo x >/both/secret; chown 0 /both/secret",
        )
        .await;
        assert_eq!(taken.matches("Permission denied").count(), 2, "{taken}");
        assert_eq!(taken.matches("Operation not permitted").count(), 2, "{taken}");
        assert_eq!(says(&engine, one, "cat /both/secret").await, "mine\n");
        assert_eq!(says(&engine, two, "stat -c %u /both/secret").await, "65534\n");
        assert_eq!(on_disk(&dir.path().join("secret")), (FIRST, FIRST));
    });
    world.finish(engine);
}

/// A mount of the test's, until it is dropped.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn bind(source: &Path, at: &Path) -> Self {
        rustix::mount::mount_bind(source, at).unwrap();
        Self(at.to_owned())
    }

    fn of_kind(kind: &str, at: &Path) -> Self {
        rustix::mount::mount("none", at, kind, MountFlags::empty(), None).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}
