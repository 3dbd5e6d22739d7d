//! Settings of security and of mounts that the kubelet relies on, as a container sees them.

use std::path::Path;

use berth_engine::Engine;
use berth_engine::model::{
    ContainerConfig, ContainerSecurity, EnvVar, GroupsPolicy, Mount, SeccompChoice, User,
};
use berth_testkit::require_root;
use berth_types::{Classify, ContainerId, Kind};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::harness::{WAITS, World, sandbox, script, started};

async fn says(engine: &Engine, id: &ContainerId, line: &str) -> String {
    let argv = ["sh", "-c", line].map(str::to_owned).to_vec();
    let out = engine.exec_sync(id, argv, None).await.unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn with(name: &str, security: ContainerSecurity) -> ContainerConfig {
    ContainerConfig { security, ..script(name, WAITS) }
}

/// contract 29: the status says who the process is; Strict takes no group of the image; a name must be in it.
#[test]
fn contract_29_users_and_their_groups() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("users")).await.unwrap();
        let asked = |user, policy| ContainerSecurity {
            user: Some(user),
            supplemental_groups: vec![4000, 3000],
            groups_policy: policy,
            ..ContainerSecurity::default()
        };
        let web = || User::Name("web".to_owned());
        for (name, security, groups) in [
            ("merge", asked(web(), GroupsPolicy::Merge), &[1000, 2000, 3000, 4000][..]),
            ("strict", asked(web(), GroupsPolicy::Strict), &[1000, 3000, 4000]),
            ("number", asked(User::Id(1000), GroupsPolicy::Merge), &[1000, 2000, 3000, 4000]),
            (
                "group",
                ContainerSecurity { group: Some(77), ..asked(web(), GroupsPolicy::Strict) },
                &[77, 3000, 4000],
            ),
            ("unknown", asked(User::Id(5), GroupsPolicy::Merge), &[0, 3000, 4000]),
        ] {
            let uid = if name == "unknown" { 5 } else { 1000 };
            let id = started(&engine, &pod, with(name, security)).await;
            let view = engine.container(id.as_str()).unwrap();
            assert_eq!(
                (view.user.uid, view.user.gid, &*view.user.groups),
                (uid, groups[0], groups),
                "{name}"
            );
            let words: Vec<String> = groups.iter().map(ToString::to_string).collect();
            assert_eq!(
                says(&engine, &id, "id -u; id -G").await,
                format!("{uid}\n{}\n", words.join(" ")),
                "{name}"
            );
        }
        for (name, security, words) in [
            (
                "nobody",
                ContainerSecurity { user: Some(User::Name("nobody".to_owned())), ..Default::default() },
                "\"nobody\"",
            ),
            ("lonely", ContainerSecurity { group: Some(5), ..Default::default() }, "run_as_group"),
        ] {
            let error = engine.create_container(&pod, with(name, security)).await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind(), Kind::Invalid);
        }
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 31: what is missing is made as a directory, a link is followed, and what a dangling one names is not made.
#[test]
fn contract_31_sources_of_mounts() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("file"), "content").unwrap();
    std::os::unix::fs::symlink("file", at("link")).unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("sources")).await.unwrap();
        let mut config = script("main", WAITS);
        config.mounts = vec![
            Mount::new(at("link"), "/link"),
            Mount::new(at("new/deep"), "/new"),
            Mount::new(at("file"), "/made/by/the/mount"),
        ];
        let id = started(&engine, &pod, config).await;
        let look = "cat /link /made/by/the/mount; echo; echo x >/new/made; stat -c %F /link";
        assert_eq!(says(&engine, &id, look).await, "contentcontent\nregular file\n");
        assert_eq!(std::fs::read_to_string(at("new/deep/made")).unwrap(), "x\n");
        let mut config = script("dangling", WAITS);
        config.mounts = vec![Mount::new(at("dangling"), "/d")];
        let error = engine.create_container(&pod, config).await.unwrap_err();
        assert!(berth_types::error::chain(&error).contains("dangling"), "{error}");
        assert!(!at("nowhere").exists());
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// A tmpfs of the test's, until it is dropped.
struct Below(std::path::PathBuf);

impl Below {
    fn new(at: &Path) -> Self {
        std::fs::create_dir(at).unwrap();
        rustix::mount::mount("none", at, "tmpfs", MountFlags::empty(), None).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// contract 32: recursive read-only holds for what is mounted below, and needs readonly and private.
#[test]
fn contract_32_recursive_read_only_and_further_options_of_mounts() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let dir = tempfile::tempdir().unwrap();
    let _below = Below::new(&dir.path().join("below"));
    berth_testkit::executable::copy("/bin/busybox", dir.path().join("busybox"));
    world.run(async {
        let pod = engine.run_sandbox(sandbox("mounts")).await.unwrap();
        let bind = |place: &str| Mount::new(dir.path(), place);
        let options = |list: &[&str]| list.iter().map(|o| (*o).to_owned()).collect();
        let mut config = script("main", WAITS);
        config.mounts = vec![
            Mount { readonly: true, ..bind("/ro") },
            Mount { readonly: true, recursive_readonly: true, ..bind("/rro") },
            Mount { options: options(&["noexec", "nosuid", "nodev"]), ..bind("/no") },
            Mount { options: options(&["rnoexec"]), ..bind("/rno") },
        ];
        let id = started(&engine, &pod, config).await;
        let look = "touch /ro/x; touch /ro/below/x && echo below ro; touch /rro/x; touch /rro/below/x; \
                    /ro/busybox true && echo ran; /no/busybox true; touch /no/x /no/below/y && echo wrote";
        let said = says(&engine, &id, look).await;
        assert!(said.starts_with("below ro\nran\nwrote\n"), "{said}");
        assert_eq!(said.matches("Read-only file system").count(), 3, "{said}");
        assert_eq!(said.matches("Permission denied").count(), 1, "{said}");
        let flags = says(&engine, &id, "sed -n 's|^[^ ]* [^ ]* [^ ]* [^ ]* \\(/r\\?no[^ ]*\\) \\([^ ]*\\) .*|\\1 \\2|p' /proc/self/mountinfo").await;
        assert!(flags.contains("/no rw,nosuid,nodev,noexec"), "{flags}");
        assert!(flags.lines().any(|l| l.starts_with("/rno/below ") && l.contains("noexec")), "{flags}");
        assert!(flags.lines().any(|l| l.starts_with("/no/below ") && !l.contains("noexec")), "{flags}");
        for (mount, words) in [
            (Mount { recursive_readonly: true, ..bind("/a") }, "recursive read-only needs readonly"),
            (Mount { options: options(&["rw"]), ..bind("/a") }, "\"rw\" is not one of noexec"),
            (Mount { options: options(&["exec"]), ..bind("/a") }, "\"exec\" is not one of noexec"),
            (Mount { options: options(&["size=1"]), ..bind("/a") }, "\"size=1\" is not one of noexec"),
        ] {
            let config = ContainerConfig { mounts: vec![mount], ..script("refused", WAITS) };
            let error = engine.create_container(&pod, config).await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 33: all capabilities and devices, no filter, nothing masked, a writable sysfs.
#[test]
fn contract_33_a_privileged_container() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let mut config = sandbox("privileged");
        config.security.privileged = true;
        let pod = engine.run_sandbox(config).await.unwrap();
        let security = |privileged| ContainerSecurity {
            privileged,
            seccomp: SeccompChoice::Default,
            masked_paths: vec!["/proc/interrupts".into()],
            readonly_paths: vec!["/proc/sys".into()],
            ..ContainerSecurity::default()
        };
        let look = "grep -E 'CapEff|Seccomp:' /proc/self/status; wc -c </proc/interrupts; \
                    grep -E ' /sys | /proc/sys ' /proc/self/mountinfo | sed 's/.* \\(\\/[a-z/]*\\) \\(r[ow]\\),.*/\\1 \\2/'; \
                    ls /dev | wc -l";
        let privileged = started(&engine, &pod, with("privileged", security(true))).await;
        let said = says(&engine, &privileged, look).await;
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let held = own.lines().find(|line| line.starts_with("CapEff")).unwrap();
        assert!(said.contains(held) && said.contains("Seccomp:\t0") && said.contains("/sys rw\n"), "{said}");
        assert!(!said.contains("/proc/sys ") && !said.contains("\n0\n"), "{said}");
        let devices = |said: &str| said.lines().last().unwrap().trim().parse::<usize>().unwrap();
        let usual = started(&engine, &pod, with("usual", security(false))).await;
        let usual = says(&engine, &usual, look).await;
        assert!(usual.contains("Seccomp:\t2\n0\n") && usual.contains("/sys ro\n/proc/sys ro\n"), "{usual}");
        assert!(devices(&said) > devices(&usual), "{said} {usual}");
        engine.remove_sandbox(&pod).await.unwrap();
        // A pod that is not privileged holds no such container.
        let pod = engine.run_sandbox(sandbox("usual")).await.unwrap();
        let error = engine.create_container(&pod, with("privileged", security(true))).await.unwrap_err();
        assert!(error.to_string().contains("not privileged"), "{error}");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 34: values are bytes, the last of one name wins, and the image's are below.
#[test]
fn contract_34_the_environment() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("env")).await.unwrap();
        let var = |name: &str, value: &[u8]| EnvVar { name: name.to_owned(), value: value.to_vec() };
        let mut config = script("main", WAITS);
        config.envs = vec![
            var("TWICE", b"first"),
            var("RAW", b"a\xff\nb"),
            var("PATH", b"/bin:/of-the-container"),
            var("TWICE", b"last"),
            var("EMPTY", b""),
        ];
        let id = started(&engine, &pod, config).await;
        let pid = engine.container(id.as_str()).unwrap().pid.unwrap();
        let env = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let has = |line: &[u8]| env.split(|byte| *byte == 0).filter(|found| *found == line).count();
        let lines: [&[u8]; 5] =
            [b"TWICE=last", b"RAW=a\xff\nb", b"PATH=/bin:/of-the-container", b"EMPTY=", b"HOME=/root"];
        for line in lines {
            assert_eq!(has(line), 1, "{}", String::from_utf8_lossy(line));
        }
        assert_eq!(has(b"TWICE=first"), 0);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2023-27561: nothing is mounted over what the kernel shows of processes and of itself, by no
/// way of writing it, and by no link of the image.
#[test]
fn mounts_over_the_kernels_files_are_refused() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "mine").unwrap();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("kernel")).await.unwrap();
        let mounted = |place: &str| ContainerConfig {
            mounts: vec![Mount::new(dir.path(), place)],
            ..script("refused", WAITS)
        };
        for place in [
            "/proc/self/attr",
            "/proc/sys",
            "/proc/sys/kernel/core_pattern",
            "/proc/1",
            "//proc/./self",
            "/etc/../proc/self",
            "/proc",
            "/var/to-proc",
            "/var/to-proc/self",
            "/var/to-sys",
            "/",
        ] {
            let error = engine.create_container(&pod, mounted(place)).await;
            let Err(error) = error else { panic!("{place} was mounted over") };
            let text = berth_types::error::chain(&error);
            assert!(text.contains("proc") || text.contains("hide the whole image"), "{place}: {text}");
        }
        // What lxcfs shows is not a process' own.
        let config = ContainerConfig {
            mounts: vec![Mount::new(dir.path().join("file"), "/proc/meminfo")],
            ..script("lxcfs", WAITS)
        };
        let id = started(&engine, &pod, config).await;
        assert_eq!(says(&engine, &id, "cat /proc/meminfo").await, "mine");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}
