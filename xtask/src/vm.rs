//! `cargo xtask vm`: the tests on the kernel of the distribution, where cgroup v2 is alone.
//!
//! A virtual machine boots Debian's cloud kernel. Its root is this machine's, read-only through
//! virtiofs, below an overlay in its memory; what needs a real file system gets a disk. So the test
//! programs built here run there as they are. It is emulated, since KVM is often out of reach: an order
//! of magnitude slower, and apart from `cargo xtask test` for that.

mod initrd;

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::conformance;
use crate::package;
use crate::run::{cargo, headline, must, target};
use crate::setup;
use crate::test::cargo_tests::run_one;
use crate::test::count::Counts;
use crate::tools::{self, Profile};

/// `cargo xtask vm`
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these test programs, as `berth_sys`, `pods` or `compare`, `conformance` for the CRI's suite or `package` for
    /// the Debian package [default: those that meet the kernel]
    program: Vec<String>,
    /// After `--`, only tests with one of these in their names; for `conformance` one regular expression
    #[arg(last = true, value_name = "FILTER")]
    filters: Vec<String>,
    /// A machine as production has it: systemd as its first process, with its cgroup driver. It runs the programs that differ
    /// there, the CRI's conformance suite and the Debian package
    #[arg(long)]
    systemd: bool,
    /// Memory of the machine in MiB
    #[arg(long, default_value_t = 6144)]
    memory: u32,
}

/// Those that meet the kernel, and are not too slow there.
const PROGRAMS: &[&str] = &[
    "berth_sys",
    "berth_container",
    "features",
    "escape",
    "lifecycle",
    "compare",
    "berth_shim",
    "shim",
    "berth_net",
    "networks",
    "store",
    "unpack",
    "archive",
    "berth_engine",
    "pods",
];
/// Those that differ where systemd is the first process.
const UNDER_SYSTEMD: &[&str] = &["lifecycle", "shim", "pods", CONFORMANCE, PACKAGE];
/// The programs that test the Debian package and run the CRI's suite. They are scripts, and in a machine without systemd
/// only run when named.
const PACKAGE: &str = "package";
const PACKAGE_TEST: &str = include_str!("vm/package.sh");
const CONFORMANCE: &str = "conformance";
const CONFORMANCE_TEST: &str = include_str!("vm/conformance.sh");
/// What systemd starts, and what of the distribution's does not belong to the tests.
const UNITS: [(&str, &str); 2] = [
    ("berth-vm.target", include_str!("vm/units/berth-vm.target")),
    ("berth-vm.service", include_str!("vm/units/berth-vm.service")),
];
const MASKED: &[&str] = &[
    "apparmor.service",
    "kmod-static-nodes.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-journald-audit.socket",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "systemd-sysusers.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-setup-dev.service",
    // It would empty the machine's own /tmp in the overlay, file by file.
    "systemd-tmpfiles-setup.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-update-utmp.service",
    "timers.target",
];
const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";
/// What runs in the machine as its first process.
const GUEST: &str = include_str!("vm/guest.sh");

/// The verb: 0 when nothing failed.
pub(crate) fn run(options: &Options) -> ExitCode {
    let mut counts = Counts::default();
    if let Err(error) = boot(options, &mut counts) {
        counts.fail(format!("vm: {error:#}"));
    }
    counts.close()
}

fn boot(options: &Options, counts: &mut Counts) -> Result<()> {
    setup::virtual_machine()?;
    let dir = target().join("vm");
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let kernel = initrd::newest_kernel()?;
    initrd::write(&kernel, &dir)?;
    let wanted: Vec<&str> = match options.program[..] {
        [] if options.systemd => UNDER_SYSTEMD.to_vec(),
        [] => PROGRAMS.to_vec(),
        ref named => named.iter().map(String::as_str).collect(),
    };
    std::fs::write(dir.join("guest.sh"), GUEST)?;
    units(&dir)?;
    let programs = programs(&wanted, &options.filters, &dir)?;
    let expected = programs.lines().count();
    std::fs::write(dir.join("programs"), programs)?;
    disk(&dir.join("disk.img"))?;

    headline(&format!("vm: booting {}", kernel.release));
    let mut files = Files::serve(&dir)?;
    let ended = run_one(&mut machine(&kernel, &dir, options), "vm", counts);
    files.end();
    // A machine that stops half-way ends as one that is done does.
    ensure!(
        ended == expected,
        "{ended} of {expected} test programs gave a result before the machine stopped"
    );
    Ok(())
}

/// The units of a machine with systemd.
fn units(dir: &Path) -> Result<()> {
    let units = dir.join("units");
    if units.exists() {
        std::fs::remove_dir_all(&units)?;
    }
    std::fs::create_dir_all(&units)?;
    for (name, text) in UNITS {
        std::fs::write(units.join(name), text.replace("@DIR@", &dir.display().to_string()))?;
    }
    // An empty file masks as a link to /dev/null does (systemd.unit(5)).
    MASKED.iter().try_for_each(|name| Ok(std::fs::write(units.join(name), "")?))
}

/// A line for each program that is to be run, scripts last.
fn programs(wanted: &[&str], filters: &[String], dir: &Path) -> Result<String> {
    let (scripts, compiled): (Vec<&str>, Vec<&str>) =
        wanted.iter().partition(|name| [PACKAGE, CONFORMANCE].contains(name));
    if wanted.contains(&PACKAGE) && !filters.is_empty() {
        bail!("the test of the package is one whole: leave out {filters:?}");
    }
    let filters = filters.join(" ");
    let mut lines = if compiled.is_empty() { String::new() } else { list(&compiled, &filters)? };
    for name in scripts {
        let script = if name == PACKAGE { package(dir)? } else { conformance(dir)? };
        writeln!(lines, "{} {} {filters}", dir.display(), script.display())?;
    }
    Ok(lines)
}

/// The package's test, which is put beside a package built for it.
fn package(dir: &Path) -> Result<PathBuf> {
    std::fs::copy(package::build("quick")?, dir.join("berth.deb")).context("copy the package")?;
    script(dir, PACKAGE, PACKAGE_TEST)
}

/// The CRI's suite, with what it needs.
fn conformance(dir: &Path) -> Result<PathBuf> {
    let (critest, testkit) = (conformance::build_suite()?, tools::testkit(Profile::Dev)?);
    let (berth, xtask) = (tools::berth(Profile::Dev)?, std::env::current_exe()?);
    let programs = [("critest", critest), ("testkit", testkit), ("berth", berth), ("xtask", xtask)];
    let lines: Vec<String> = programs.map(|(name, path)| format!("{name}={}", path.display())).into();
    script(dir, CONFORMANCE, &format!("{}\n{CONFORMANCE_TEST}", lines.join("\n")))
}

fn script(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let script = dir.join(name).with_extension("sh");
    std::fs::write(&script, format!("#!/bin/bash\n{text}"))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

/// A line for each program: where it is run, what, and which of its tests.
fn list(wanted: &[&str], filters: &str) -> Result<String> {
    headline("vm: building the tests");
    let mut build = cargo(&["test", "--no-run", "--message-format=json-render-diagnostics"]);
    for package in packages(wanted)? {
        build.args(["--package", &package]);
    }
    let built = build.stderr(Stdio::inherit()).output()?;
    ensure!(built.status.success(), "the tests do not build");
    // Tests that need them would build them.
    must(&mut cargo(&["build", "--quiet", "--package", "berth-shim", "--package", "berth-image", "--bins"]))?;
    let mut lines = String::new();
    let mut found = Vec::new();
    for message in built.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(message)?;
        let name = message["target"]["name"].as_str().unwrap_or_default().replace('-', "_");
        let (Some(program), Some(manifest)) =
            (message["executable"].as_str(), message["manifest_path"].as_str())
        else {
            continue;
        };
        if message["profile"]["test"] == true && wanted.contains(&name.as_str()) {
            let place = Path::new(manifest).parent().context("a manifest lies in a directory")?;
            writeln!(lines, "{} {program} {filters}", place.display())?;
            found.push(name);
        }
    }
    let missing: Vec<_> = wanted.iter().filter(|name| !found.iter().any(|f| f == *name)).collect();
    ensure!(missing.is_empty(), "no test program is called {missing:?}");
    Ok(lines)
}

/// The packages that have a target of one of these names.
fn packages(wanted: &[&str]) -> Result<Vec<String>> {
    let said = cargo(&["metadata", "--no-deps", "--format-version=1"]).stderr(Stdio::inherit()).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&said.stdout)?;
    let has = |package: &serde_json::Value| {
        let names = package["targets"].as_array().into_iter().flatten().filter_map(|t| t["name"].as_str());
        names.map(|name| name.replace('-', "_")).any(|name| wanted.contains(&name.as_str()))
    };
    let all = metadata["packages"].as_array().context("cargo names the packages")?;
    let names = all.iter().filter(|p| has(p)).filter_map(|p| p["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// An empty ext4 for what tests write; its blocks are taken as they are written.
fn disk(path: &PathBuf) -> Result<()> {
    std::fs::File::create(path)?.set_len(12 << 30)?;
    must(Command::new("mkfs.ext4").arg("-q").arg(path))
}

/// This machine's files, served to the guest.
struct Files(Child);

impl Files {
    fn serve(dir: &Path) -> Result<Files> {
        let socket = dir.join("files.sock");
        drop(std::fs::remove_file(&socket));
        let log = std::fs::File::create(dir.join("virtiofsd.log"))?;
        let mut child = Command::new(VIRTIOFSD)
            .arg(format!("--socket-path={}", socket.display()))
            .args(["-o", "source=/", "-o", "sandbox=chroot", "-o", "xattr", "-o", "cache=always"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("run {VIRTIOFSD}"))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            let running = child.try_wait()?.is_none() && Instant::now() < deadline;
            ensure!(running, "{VIRTIOFSD} did not start; see {}", dir.join("virtiofsd.log").display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Files(child))
    }

    /// It ends by itself with the machine; not when that did not come up.
    fn end(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn machine(kernel: &initrd::Kernel, dir: &Path, options: &Options) -> Command {
    let memory = options.memory;
    let boots = if options.systemd {
        " systemd.unit=berth-vm.target systemd.show_status=0 systemd.log_target=journal systemd.unified_cgroup_hierarchy=1"
    } else {
        ""
    };
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio", "-m", &format!("{memory}M")])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(dir.join("initrd.img"))
        .arg("-append")
        .arg(format!("console=ttyS0 quiet panic=-1 mitigations=off berth.dir={}{boots}", dir.display()))
        .arg("-object")
        .arg(format!("memory-backend-memfd,id=memory,size={memory}M,share=on"))
        .args(["-numa", "node,memdev=memory"])
        .arg("-chardev")
        .arg(format!("socket,id=files,path={}", dir.join("files.sock").display()))
        .args(["-device", "vhost-user-fs-pci,chardev=files,tag=files"])
        .arg("-drive")
        .arg(format!("file={},if=virtio,format=raw,cache=unsafe", dir.join("disk.img").display()))
        .stdin(Stdio::null());
    qemu
}
