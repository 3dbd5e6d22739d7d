//! Volumes of `berth play`: in memory, and parts of volumes.

use berth_testkit::guard::{has_program, takes_crun, wait_until};
use berth_testkit::{require, require_root};

use crate::home::{BUSYBOX, Home, LIMIT};

fn pod(name: &str, spec: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n{spec}  containers:\n  - name: a\n    image: \
         {BUSYBOX}\n    command: [sh, -c, 'exec sleep 1000']\n{container}"
    )
}

/// The mounts of the machine that are of this daemon's local pods.
fn mounts(home: &Home) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let below = format!("{}/root/pods/", home.daemon.dir().display());
    text.lines().filter(|line| line.contains(&below)).map(str::to_owned).collect()
}

#[test]
fn a_volume_in_memory_has_its_size_and_goes_with_its_pod() {
    require_root!();
    let mut home = Home::start();
    let spec =
        "  restartPolicy: Never\n  volumes:\n  - {name: m, emptyDir: {medium: Memory, sizeLimit: 4Mi}}\n";
    let container = "    securityContext: {runAsUser: 1000}\n    resources: {limits: {memory: 64Mi}}\n    \
                     volumeMounts: [{name: m, mountPath: /memory}]\n";
    home.feed(&["play", "-q", "-"], pod("mem", spec, container).as_bytes()).fine();
    let exec = |home: &Home, line: &str| home.berth(&["exec", "mem", "sh", "-c", line]);
    let found = exec(&home, "grep ' /memory ' /proc/mounts").fine();
    let words: Vec<_> = found.split_whitespace().collect();
    assert_eq!(words[2], "tmpfs", "{found}");
    let options: Vec<_> = words[3].split(',').collect();
    for option in ["rw", "nosuid", "nodev", "size=4096k"] {
        assert!(options.contains(&option), "{option}: {found}");
    }
    assert_eq!(exec(&home, "stat -c %a /memory").fine(), "777\n");
    exec(&home, "dd if=/dev/zero of=/memory/fits bs=1M count=3 2>&1").fine();
    let full = exec(&home, "dd if=/dev/zero of=/memory/large bs=1M count=3 2>&1");
    assert!(full.code == 1 && full.out.contains("No space left"), "{full:?}");
    assert_eq!(mounts(&home).len(), 1, "{:?}", mounts(&home));
    // A daemon that was restarted in the meantime removes it all the same.
    home.daemon.kill().unwrap();
    home.daemon.start().unwrap();
    assert_eq!(exec(&home, "stat -c %s /memory/fits").fine(), "3145728\n");
    home.berth(&["down", "-t", "0", "mem"]).fine();
    assert!(wait_until(LIMIT, || mounts(&home).is_empty()), "{:?}", mounts(&home));

    let disk = pod("disk", &spec.replace("medium: Memory, ", ""), container);
    let said = home.feed(&["play", "-q", "-"], disk.as_bytes()).refused();
    assert!(said.contains("spec.volumes[0].emptyDir.sizeLimit: Forbidden"), "{said}");
    home.clean();
}

#[test]
fn a_part_of_a_volume_is_mounted_and_leads_nowhere_else() {
    require_root!();
    let home = Home::start();
    let host = home.dir.path().join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "of the host\n").unwrap();
    std::fs::create_dir(home.dir.path().join("outside")).unwrap();
    let spec = format!(
        "  restartPolicy: Never\n  volumes: [{{name: v}}, {{name: h, hostPath: {{path: {}}}}}]\n",
        host.display()
    );
    let container = "    env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n    volumeMounts:\n    \
                     - {name: v, mountPath: /all}\n    \
                     - {name: v, mountPath: /part, subPath: a/b}\n    \
                     - {name: v, mountPath: /named, subPathExpr: logs/$(NAME)}\n    \
                     - {name: h, mountPath: /etc/file, subPath: file, readOnly: true}\n";
    home.feed(&["play", "-q", "-"], pod("parts", &spec, container).as_bytes()).fine();
    let exec = |line: &str| home.berth(&["exec", "parts", "sh", "-c", line]);
    exec("echo x > /part/x; echo y > /named/y").fine();
    assert_eq!(exec("cat /all/a/b/x /all/logs/parts/y /etc/file").fine(), "x\ny\nof the host\n");
    assert_eq!(exec("stat -c %a /all/a /all/a/b").fine(), "777\n777\n");
    assert!(exec("echo z > /etc/file").err.contains("Read-only file system"));
    home.berth(&["down", "-t", "0", "parts"]).fine();

    for (link, target) in [("up", "../outside"), ("far", "/etc")] {
        std::os::unix::fs::symlink(target, host.join(link)).unwrap();
        let mount = format!("    volumeMounts: [{{name: h, mountPath: /part, subPath: {link}/new}}]\n");
        let said = home.feed(&["play", "-q", "-"], pod("out", &spec, &mount).as_bytes()).refused();
        assert!(said.contains("it leads out of the volume"), "{said}");
    }
    assert_eq!(std::fs::read_dir(home.dir.path().join("outside")).unwrap().count(), 0);
    home.clean();
}

#[test]
fn volumes_belong_to_the_group_of_the_pod_and_those_of_the_host_do_not() {
    require_root!();
    let home = Home::start();
    let host = home.dir.path().join("host");
    std::fs::create_dir(&host).unwrap();
    let spec = format!(
        "  restartPolicy: Never\n  securityContext: {{runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000, supplementalGroups: [4000], \
         supplementalGroupsPolicy: Strict, fsGroupChangePolicy: OnRootMismatch}}\n  volumes:\n  - {{name: v}}\n  - {{name: m, emptyDir: \
         {{medium: Memory}}}}\n  - {{name: c, configMap: {{name: texts, defaultMode: 0400, items: [{{key: a, path: d/a}}]}}}}\n  \
         - {{name: h, hostPath: {{path: {}}}}}\n",
        host.display()
    );
    let container = "    securityContext: {procMount: Default}\n    volumeMounts: [{name: v, mountPath: /v}, {name: m, mountPath: /m}, \
                     {name: c, mountPath: /c}, {name: h, mountPath: /h}, {name: v, mountPath: /part, subPath: part}]\n";
    let texts = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: texts}\ndata: {a: text}\n";
    home.feed(&["play", "-q", "-"], (pod("group", &spec, container) + texts).as_bytes()).fine();
    let exec = |line: &str| home.berth(&["exec", "group", "sh", "-c", line]).fine();
    assert_eq!(exec("id -u; id -g; id -G"), "1000\n2000\n2000 3000 4000\n");
    assert_eq!(exec("stat -c %a:%u:%g /v /m /c"), "2777:0:3000\n2777:0:3000\n2755:0:3000\n");
    assert_eq!(exec("stat -L -c %a:%g /c/d /c/d/a; cat /c/d/a"), "2755:3000\n440:3000\ntext");
    assert_eq!(exec("touch /v/new /m/new; stat -c %u:%g /v/new /m/new"), "1000:3000\n1000:3000\n");
    assert_eq!(exec("stat -c %g /h /part"), "0\n3000\n");
    home.berth(&["down", "-t", "0", "group"]).fine();
    let unmasked = pod("raw", &spec, &container.replace("Default", "Unmasked")) + texts;
    let said = home.feed(&["play", "-q", "-"], unmasked.as_bytes()).refused();
    assert!(said.contains("spec.containers[0].securityContext.procMount: Forbidden"), "{said}");
    home.clean();
}

#[test]
fn a_pod_with_a_user_namespace_owns_its_volumes() {
    require_root!();
    let mut home = Home::start();
    let spec = "  restartPolicy: Never\n  hostUsers: false\n  volumes:\n  - {name: v}\n  - {name: c, configMap: {name: texts, defaultMode: 0400}}\n";
    let container = "    securityContext: {procMount: Unmasked}\n    volumeMounts: [{name: v, mountPath: /v}, {name: c, mountPath: /c}, \
                     {name: v, mountPath: /part, subPath: part}]\n";
    let texts = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: texts}\ndata: {a: text}\n";
    for name in ["one", "two"] {
        home.feed(&["play", "-q", "-"], (pod(name, spec, container) + texts).as_bytes()).fine();
    }
    let exec = |home: &Home, pod: &str, line: &str| home.berth(&["exec", pod, "sh", "-c", line]).fine();
    let maps = |home: &Home| ["one", "two"].map(|pod| exec(home, pod, "cat /proc/self/uid_map"));
    let before = maps(&home);
    let first = |map: &str| map.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap();
    assert!(first(&before[0]).abs_diff(first(&before[1])) >= 65_536, "{before:?}");
    assert_eq!(exec(&home, "one", "cat /c/a; echo x > /v/x; echo y > /part/y"), "text");
    assert_eq!(exec(&home, "one", "stat -c %u:%g /v/x /v/part/y /v /c"), "0:0\n".repeat(4));
    let uid = home.berth(&["pods", "-o", "json"]).json();
    let uid = uid.as_array().unwrap().iter().find(|pod| pod["name"] == "one").unwrap()["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let on_disk =
        std::fs::metadata(home.daemon.dir().join("root/pods").join(uid).join("volumes/v/x")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&on_disk), 0);
    home.daemon.kill().unwrap();
    home.daemon.start().unwrap();
    assert_eq!(maps(&home), before);
    home.berth(&["down", "-t", "0", "one"]).fine();
    home.feed(&["play", "-q", "-"], (pod("one", spec, container) + texts).as_bytes()).fine();
    assert_ne!(exec(&home, "one", "cat /proc/self/uid_map"), before[1]);
    home.berth(&["down", "-t", "0", "one"]).fine();
    home.berth(&["down", "-t", "0", "two"]).fine();

    let host =
        pod("host", &spec.replace("  hostUsers", "  hostNetwork: true\n  hostUsers"), container) + texts;
    let said = home.feed(&["play", "-q", "-"], host.as_bytes()).refused();
    assert!(said.contains("spec.hostNetwork: Forbidden"), "{said}");
    home.clean();
}

#[test]
fn the_example_with_volumes_shows_them() {
    require_root!();
    let home = Home::start();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/volumes.yaml");
    home.write("volumes.yaml", &std::fs::read_to_string(example).unwrap());
    home.berth(&["play", "-q", "volumes.yaml"]).fine();
    let exec = |line: &str| home.berth(&["exec", "volumes", "sh", "-c", line]).fine();
    let line = "until test -s /logs/log; do sleep 0.1; done; cat /data/logs/volumes/log";
    assert_eq!(exec(line), "started\n");
    assert_eq!(exec("stat -c %a:%g /data /cache"), "2777:2000\n2777:2000\n");
    assert!(exec("cat /etc/hosts").ends_with("192.0.2.10\tdb db.example\n"));
    assert_eq!(home.berth(&["down", "volumes.yaml"]).fine(), "volumes\n");
    home.clean();
}

#[test]
fn runc_shows_the_same_volumes() {
    require_root!();
    require!(has_program("runc"), "needs the package runc");
    shows_the_same_volumes("runc");
}

#[test]
fn crun_shows_the_same_volumes() {
    require_root!();
    require!(has_program("crun"), "needs the package crun");
    require!(takes_crun(), "crun needs a host whose cgroup2 has no controllers beside version 1");
    shows_the_same_volumes("crun");
}

fn shows_the_same_volumes(runtime: &str) {
    let home = Home::start();
    let container = "    command: [sh, -c, 'echo -n why > /dev/termination-log; exec sleep 1000']\n    volumeMounts:\n    - {name: v, mountPath: /v}\n    - {name: v, mountPath: /part, subPath: a/b}\n    - {name: m, \
                     mountPath: /m}\n    - {name: h, mountPath: /etc/file, subPath: file}\n";
    let host = home.dir.path().join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "of the host\n").unwrap();
    for users in ["true", "false"] {
        let spec = format!(
            "  restartPolicy: Never\n  runtimeClassName: {runtime}\n  hostUsers: {users}\n  securityContext: {{fsGroup: 3000}}\n  \
             volumes: [{{name: v}}, {{name: m, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}, {{name: h, hostPath: {{path: {}}}}}]\n",
            host.display()
        );
        let text = pod("other", &spec, container).replace("    command: [sh, -c, 'exec sleep 1000']\n", "");
        home.feed(&["play", "-q", "-"], text.as_bytes()).fine();
        let exec = |line: &str| home.berth(&["exec", "other", "sh", "-c", line]).fine();
        assert_eq!(exec("echo x > /part/x; cat /v/a/b/x /etc/file"), "x\nof the host\n", "{runtime} {users}");
        assert_eq!(exec("stat -c %a:%u:%g /v /m"), "2777:0:3000\n2777:0:3000\n", "{runtime} {users}");
        home.berth(&["stop", "-t", "0", "other"]).fine();
        assert_eq!(home.wait_state("other", "a", "exited")["message"], "why", "{runtime} {users}");
        home.berth(&["down", "other"]).fine();
    }
    assert!(mounts(&home).is_empty(), "{:?}", mounts(&home));
    home.clean();
}
