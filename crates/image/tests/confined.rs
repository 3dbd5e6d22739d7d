//! What the processes of a layer have: every descriptor, mount, mapped file, right and limit is in a list here.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};

use berth_image::LayerStep;
use common::{Layer, Tar, root, source, store};

/// A process as /proc shows it.
struct Seen {
    status: String,
    fds: Vec<(u32, String)>,
    mounts: Vec<String>,
    files: Vec<PathBuf>,
    limits: String,
}

impl Seen {
    fn read(pid: &Path) -> Option<Self> {
        let text = |name: &str| std::fs::read_to_string(pid.join(name)).ok();
        let mut fds: Vec<_> = std::fs::read_dir(pid.join("fd"))
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let target = std::fs::read_link(entry.path()).ok()?;
                let number = entry.file_name().to_str().unwrap().parse().unwrap();
                Some((number, target.to_str().unwrap().to_owned()))
            })
            .collect();
        fds.sort();
        let maps = text("maps")?;
        let mut files: Vec<_> = maps
            .lines()
            .filter_map(|line| line.split_once('/'))
            .map(|(_, path)| ["/", path].concat().into())
            .collect();
        files.dedup();
        let mounts = text("mountinfo")?.lines().map(str::to_owned).collect();
        Some(Self { status: text("status")?, fds, mounts, files, limits: text("limits")? })
    }

    fn field(&self, name: &str) -> &str {
        let line = self.status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap()
    }

    /// Both limits of a resource.
    fn limit(&self, name: &str) -> Vec<&str> {
        let line = self.limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).collect()
    }
}

/// The confined children of this test program, the one that decompresses first.
fn confined() -> Option<[Seen; 2]> {
    let me = std::process::id().to_string();
    let mut seen: Vec<Seen> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        if status.contains(&format!("PPid:\t{me}\n")) && status.contains("Seccomp:\t2\n") {
            seen.extend(Seen::read(&entry.path()));
        }
    }
    seen.sort_by_key(|process| u64::from_str_radix(process.field("CapEff:"), 16).unwrap());
    seen.try_into().ok()
}

#[tokio::test]
async fn the_processes_have_what_is_listed_and_nothing_else() {
    if !root("the_processes_have_what_is_listed_and_nothing_else") {
        return;
    }
    // Descriptors that this program leaves open on purpose, as a library might.
    let leak = std::fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let store = store().await;
    let layer = Layer::plain(Tar::new().dir("d").file("d/x", vec![1; 8_000_000]).finish());
    let ingest = store.images.ingest(source(std::slice::from_ref(&layer), "sh")).await.unwrap();
    let LayerStep::Write(mut writer) = ingest.layer(0).await.unwrap() else { panic!("present") };
    // While a layer is held open, its processes show what they have.
    writer.write(&layer.blob[..6_000_000]).await.unwrap();
    let mut found = None;
    // Until both have read all that there is: then they wait, and their lists hold still.
    let waiting = |seen: &[Seen; 2]| seen.iter().all(|process| process.field("State:") == "S");
    let limit = berth_testkit::guard::WAIT_LIMIT;
    assert!(berth_testkit::wait_until(limit, || {
        found = confined();
        found.as_ref().is_some_and(waiting)
    }));
    let [inflate, unpack] = found.unwrap();
    for process in [&inflate, &unpack] {
        assert_eq!(process.field("NoNewPrivs:"), "1");
        assert_eq!(process.field("CapBnd:"), process.field("CapEff:"));
        for set in ["CapInh:", "CapAmb:"] {
            assert_eq!(process.field(set), "0000000000000000", "{set}");
        }
        assert_eq!(process.field("Threads:"), "1");
        assert_eq!(process.limit("Max core file size"), ["0", "0"]);
        let memory: u64 = process.limit("Max address space")[1].parse().unwrap();
        assert!(memory <= 3 << 30, "{memory}");
        // Its program and what it is linked with: no data of the host.
        for file in &process.files {
            let name = file.file_name().unwrap().to_str().unwrap();
            let known = ["berth-unpack", "libc.so", "libgcc_s.so", "libm.so", "ld-linux"];
            assert!(known.iter().any(|known| name.starts_with(known)), "{}", file.display());
        }
    }
    assert_eq!(inflate.field("CapEff:"), "0000000000000000");
    // CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, SETFCAP 31.
    let effective = u64::from_str_radix(unpack.field("CapEff:"), 16).unwrap();
    assert_eq!(effective, 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 31);
    // Its stdin, the socket twice, a pipe for its stderr, and what the job is about.
    let kinds = |process: &Seen| -> Vec<String> {
        let kind = |target: &String| target.split(":[").next().unwrap().to_owned();
        process.fds.iter().map(|(_, target)| kind(target)).collect()
    };
    assert_eq!(kinds(&inflate), ["pipe", "socket", "pipe", "socket", "pipe", "pipe"], "{:?}", inflate.fds);
    // The root directory, the recipe (outside of it, which shows as its path), the directory and the file being written.
    let mut had = kinds(&unpack);
    let recipe = had.iter().position(|target| target.ends_with("/recipe")).unwrap();
    had.remove(recipe);
    assert_eq!(had[..4], ["pipe", "socket", "pipe", "socket"], "{:?}", unpack.fds);
    let mut inside = had[4..].to_vec();
    inside.sort();
    assert_eq!(inside, ["/", "/d", "/d/x", "pipe"], "{:?}", unpack.fds);
    // One mount: the directory, where neither devices, setuid nor programs work.
    for (process, name, rights) in [(&inflate, "/empty", "ro"), (&unpack, "/fs", "rw")] {
        let [mount] = &process.mounts[..] else { panic!("{:?}", process.mounts) };
        let fields: Vec<_> = mount.split(' ').collect();
        assert!(fields[3].ends_with(name) && fields[4] == "/", "{mount}");
        let options: Vec<_> = fields[5].split(',').collect();
        for wanted in [rights, "nosuid", "nodev", "noexec"] {
            assert!(options.contains(&wanted), "{mount}");
        }
    }
    writer.write(&layer.blob[6_000_000..]).await.unwrap();
    writer.finish().await.unwrap();
}
