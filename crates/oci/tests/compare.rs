//! The same bundles through this runtime, runc and crun: they must look the same from the inside.

use serde_json::{Value, json};

mod support;
use support::bundle::{Bundle, Runtime, oracles, text};
use support::root;

/// What a process can see of its container, in a form that does not depend on the moment.
const LOOK: &str = r#"
echo "id $(id -u) $(id -g) $(id -G)"
grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status
echo "umask $(umask)"; pwd; env | grep -v '^_=' | sort; hostname; echo "pid $$"
grep -E 'open files|core file|processes|stack' /proc/self/limits
for n in pid net ipc uts mnt cgroup user; do echo "ns $n $(readlink /proc/self/ns/$n)"; done
ls -ln /dev | awk '{print $1, $3, $4, $5, $6, $NF}' | sort
awk '{print "mount", $5, $6}' /proc/self/mountinfo | sort
cat /proc/interrupts | wc -c; ls /proc/irq /sys/firmware | wc -l
echo 1 > /proc/sys/kernel/shm_rmid_forced && echo wrote
mkdir /new && echo made; mkdir /sys/new; ls /proc/self/fd | wc -l
cat /proc/self/oom_score_adj; cat /proc/self/cgroup | grep -v ':name=systemd\|freezer' | sort
"#;

/// Lines that differ legitimately: namespaces have other numbers each time, and a masked path
/// is hidden by another mount.
fn same_for_all(line: &str, host: &[(String, String)]) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["ns", kind, number] => {
            let is_host = host.iter().any(|(k, n)| k == kind && n == number);
            Some(format!("ns {kind} {}", if is_host { "host" } else { "own" }))
        }
        // Not the runtime specification's: crun's link to kcore, device rules for tun (runc) and for
        // the console (crun).
        [.., "/proc/kcore"] | ["c", "10:200" | "5:1", _] => None,
        // In a user namespace: the owner of mqueue's root is the maker of the IPC namespace; devices
        // are bound, with some flags or others.
        [.., "mqueue"] => None,
        ["mount", at, _]
            if ["null", "zero", "full", "tty", "random", "urandom"]
                .iter()
                .any(|d| at.strip_prefix("/dev/") == Some(d)) =>
        {
            Some(format!("mount {at}"))
        }
        ["mount", at, _] if ["/proc/interrupts", "/proc/irq", "/sys/firmware"].contains(at) => {
            Some(format!("mount {at}"))
        }
        // The order of options is that of the kernel, but crun adds relatime where it binds.
        ["mount", at, options] => {
            let mut options: Vec<&str> = options.split(',').filter(|o| *o != "relatime").collect();
            options.sort_unstable();
            Some(format!("mount {at} {}", options.join(",")))
        }
        // Numbers of cgroups that only the host's runtime is in.
        [group] if group.contains(":/") => group.split_once(':').map(|(_, rest)| {
            let (controllers, path) = rest.split_once(':').unwrap_or((rest, ""));
            format!("cgroup {controllers} {}", if path.contains("..") { "?" } else { path })
        }),
        _ => Some(line.to_owned()),
    }
}

fn host_namespaces() -> Vec<(String, String)> {
    ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user"]
        .map(|kind| {
            let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("readlink");
            (kind.to_owned(), link.to_string_lossy().into_owned())
        })
        .to_vec()
}

/// Lines that hold a cgroup's name, which is another for each run.
fn without_names(text: &str) -> String {
    let mut clean = String::new();
    for part in text.split("berth-test-") {
        clean.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-'));
    }
    clean
}

fn seen(bundle: &Bundle, runtime: Runtime) -> (Option<i32>, Vec<String>) {
    let output = bundle.run(runtime);
    let host = host_namespaces();
    let text = without_names(&text(&output));
    (output.status.code(), text.lines().filter_map(|l| same_for_all(l, &host)).collect())
}

/// A change of the usual bundle.
type Change = fn(&mut Value);

/// Makes a user the owner of a tree.
fn give_to(dir: &std::path::Path, id: u32) {
    for entry in std::fs::read_dir(dir).expect("read_dir") {
        let entry = entry.expect("entry");
        std::os::unix::fs::lchown(entry.path(), Some(id), Some(id)).expect("lchown");
        if entry.file_type().expect("type").is_dir() {
            give_to(&entry.path(), id);
        }
    }
    std::os::unix::fs::lchown(dir, Some(id), Some(id)).expect("lchown");
}

const BUNDLES: &[(&str, Change)] = &[
    ("usual", |_| {}),
    ("read-only root", |c| c["root"]["readonly"] = json!(true)),
    ("user and groups", |c| {
        c["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [10, 20], "umask": 63 });
    }),
    ("user with ambient capabilities", |c| {
        c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            c["process"]["capabilities"][set] = json!(["CAP_NET_BIND_SERVICE", "CAP_CHOWN"]);
        }
    }),
    ("no capabilities", |c| {
        c["process"].as_object_mut().expect("object").remove("capabilities");
    }),
    ("privileges may be gained", |c| c["process"]["noNewPrivileges"] = json!(false)),
    ("rlimits", |c| {
        c["process"]["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "hard": 200, "soft": 100 },
            { "type": "RLIMIT_CORE", "hard": 0, "soft": 0 },
            { "type": "RLIMIT_NPROC", "hard": 500, "soft": 400 },
            { "type": "RLIMIT_STACK", "hard": 16777216, "soft": 8388608 }
        ]);
    }),
    ("working directory that is made", |c| c["process"]["cwd"] = json!("/made/deep")),
    ("host network, IPC and UTS", |c| {
        c["linux"]["namespaces"] = json!([{ "type": "pid" }, { "type": "mount" }, { "type": "cgroup" }]);
        c["hostname"] = json!("");
        // A sysfs of the host's network shows the same; all three can mount it as root.
    }),
    ("host PID", |c| {
        c["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "uts" }, { "type": "ipc" },
            { "type": "network" }, { "type": "cgroup" }]);
        let script = c["process"]["args"][2].as_str().expect("text").replace("echo \"pid $$\"", "true");
        c["process"]["args"][2] = json!(script);
    }),
    ("bind mounts", |c| {
        let mounts = c["mounts"].as_array_mut().expect("array");
        mounts.push(json!({ "destination": "/in/ro", "type": "bind", "source": "/usr/share",
            "options": ["rbind", "ro", "rprivate"] }));
        mounts.push(json!({ "destination": "/in/file", "type": "bind", "source": "/etc/hostname",
            "options": ["bind", "nosuid", "nodev", "noexec"] }));
        mounts.push(json!({ "destination": "/in/tmp", "type": "tmpfs", "source": "tmpfs",
            "options": ["size=1m", "mode=700", "noexec"] }));
    }),
    ("sysctls", |c| {
        c["linux"]["sysctl"] =
            json!({ "net.ipv4.ip_unprivileged_port_start": "42", "kernel.shmmax": "65536" });
        let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax";
        c["process"]["args"][2] = json!(script);
    }),
    ("devices", |c| {
        c["linux"]["devices"] = json!([
            { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 384, "uid": 7, "gid": 8 },
            { "path": "/dev/sub/pipe", "type": "p", "major": 0, "minor": 0, "fileMode": 432 }
        ]);
        c["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" }
        ]);
        let script = c["process"]["args"][2].as_str().expect("text").to_owned();
        c["process"]["args"][2] = json!(format!("{script}\nls -ln /dev/sub | awk '{{print $1, $3, $4}}'"));
    }),
    ("cgroup limits", |c| {
        c["linux"]["resources"] = json!({
            "devices": [{ "allow": false, "access": "rwm" }],
            "memory": { "limit": 67108864, "reservation": 33554432 },
            "cpu": { "shares": 512, "quota": 50000, "period": 100000 },
            "pids": { "limit": 77 }
        });
        c["mounts"].as_array_mut().expect("array").push(json!({ "destination": "/sys/fs/cgroup",
            "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }));
        c["process"]["args"][2] = json!(
            "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes \
            memory/memory.soft_limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us \
            pids/pids.max; sort devices/devices.list; mkdir cpu/x; cat /dev/null; \
            dd if=/dev/tty count=0"
        );
    }),
    ("seccomp", |c| {
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11 },
                { "names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO" }
            ]
        });
        let script = c["process"]["args"][2].as_str().expect("text").to_owned();
        c["process"]["args"][2] = json!(format!("{script}\nmkdir /x; readlink /bin/sh"));
    }),
    ("seccomp without no_new_privs", |c| {
        c["process"]["noNewPrivileges"] = json!(false);
        c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }]
        });
    }),
    ("exit status", |c| c["process"]["args"][2] = json!("exit 42")),
    ("killed by a signal", |c| {
        c["linux"]["namespaces"] = json!([{ "type": "mount" }]);
        c["hostname"] = json!("");
        c["process"]["args"][2] = json!("kill -KILL $$");
    }),
    ("user namespace", |c| {
        c["linux"]["namespaces"].as_array_mut().expect("array").push(json!({ "type": "user" }));
        c["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
        c["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
        let script = c["process"]["args"][2].as_str().expect("text").to_owned();
        c["process"]["args"][2] = json!(format!("{script}\ncat /proc/self/uid_map /proc/self/gid_map"));
        give_to(c["root"]["path"].as_str().expect("text").as_ref(), 100_000);
    }),
];

#[test]
fn bundles_look_the_same_as_under_runc_and_crun() {
    let test = "bundles_look_the_same_as_under_runc_and_crun";
    if !root(test) {
        return;
    }
    let oracles = oracles(test);
    let mut differences = Vec::new();
    for (name, change) in BUNDLES {
        let mut bundle = Bundle::new(LOOK);
        change(&mut bundle.config);
        // What a script makes in the root would be there for the next runtime.
        let clean = || drop(std::fs::remove_dir(bundle.rootfs().join("new")));
        let ours = seen(&bundle, Runtime::Ours);
        clean();
        for oracle in &oracles {
            let theirs = seen(&bundle, *oracle);
            clean();
            if ours != theirs {
                differences.push(difference(name, *oracle, &ours, &theirs));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// runc has this from 1.2 on, and is passed over before.
#[test]
fn an_idmapped_volume_looks_the_same_as_under_crun() {
    let test = "an_idmapped_volume_looks_the_same_as_under_crun";
    if !root(test) {
        return;
    }
    let mut bundle = Bundle::new("echo uid $(id -u); stat -c '%u %g' /volume /bin; cat /proc/self/uid_map");
    let rootfs = bundle.rootfs();
    let map = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
    let c = &mut bundle.config;
    c["linux"]["namespaces"].as_array_mut().expect("array").push(json!({ "type": "user" }));
    c["linux"]["uidMappings"] = map.clone();
    c["linux"]["gidMappings"] = map.clone();
    c["mounts"].as_array_mut().expect("array").push(json!({
        "destination": "/volume", "type": "bind", "source": rootfs.join("tmp"), "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map
    }));
    give_to(&rootfs, 100_000);
    std::os::unix::fs::chown(rootfs.join("tmp"), Some(0), Some(7)).expect("chown");
    let ours = seen(&bundle, Runtime::Ours);
    assert_eq!(ours.1[..3], ["uid 0", "0 7", "0 0"]);
    for oracle in oracles(test).into_iter().filter(|oracle| *oracle == Runtime::Crun) {
        let theirs = seen(&bundle, oracle);
        assert_eq!(ours, theirs, "{}", difference("idmapped volume", oracle, &ours, &theirs));
    }
}

type Seen = (Option<i32>, Vec<String>);

fn difference(name: &str, oracle: Runtime, ours: &Seen, theirs: &Seen) -> String {
    let mut text = format!("{name}: ours {:?}, {oracle:?} {:?}\n", ours.0, theirs.0);
    for line in ours.1.iter().filter(|l| !theirs.1.contains(l)) {
        text.push_str(&format!("  ours  {line}\n"));
    }
    for line in theirs.1.iter().filter(|l| !ours.1.contains(l)) {
        text.push_str(&format!("  {oracle:?}  {line}\n"));
    }
    text
}
