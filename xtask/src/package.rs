//! `cargo xtask package`: a Debian package of Berth, with its unit, manual, completions and configuration.
//!
//! It ends no pod. A stop of the unit ends the daemon alone and keeps the records of pods (no `RuntimeDirectory`);
//! removal ends the daemons; purge keeps the directories while pods are left, and says what to do. Bridge and firewall
//! tables stay after a removal without `berth purge`, until the next reboot. The unit sets no `OOMScoreAdjust`, which
//! containers without a score of their own would inherit. There is no debhelper: it wants a Debian build environment
//! for what is short enough here.

#[cfg(test)]
mod tests;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::run::{cargo, headline, must, root, target};

/// `cargo xtask package`
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The profile of cargo to build with; `quick` is for tests of the package
    #[arg(long, default_value = "release")]
    profile: String,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const UNIT: &str = include_str!("../../packaging/debian/berth.service");
const SCRIPTS: [(&str, &str); 3] = [
    ("postinst", include_str!("../../packaging/debian/postinst")),
    ("prerm", include_str!("../../packaging/debian/prerm")),
    ("postrm", include_str!("../../packaging/debian/postrm")),
];
/// What dpkg asks about before it overwrites a change of the operator's.
const CONFFILES: &str = "/etc/berth/config.toml\n";
/// Where a shell looks for its completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/berth"),
    ("zsh", "usr/share/zsh/vendor-completions/_berth"),
    ("fish", "usr/share/fish/vendor_completions.d/berth.fish"),
];

/// The verb.
pub(crate) fn run(options: &Options) -> Result<()> {
    let package = build(&options.profile)?;
    println!("{}", package.display());
    Ok(())
}

/// Builds the package with the profile of this name, and tells where it lies.
pub(crate) fn build(profile: &str) -> Result<PathBuf> {
    headline(&format!("package: building Berth, profile {profile}"));
    must(&mut cargo(&["build", "--profile", profile, "--package", "berth"]))?;
    let program = target().join(profile).join("berth");
    let runtime = runtime(profile)?;
    let dir = target().join("package");
    let tree = dir.join("tree");
    if tree.exists() {
        std::fs::remove_dir_all(&tree)?;
    }
    headline("package: packing");
    let arch = said(Command::new("dpkg").arg("--print-architecture"))?;
    let libc = said(Command::new("dpkg-query").args(["--show", "--showformat=${Version}", "libc6"]))?;
    fill(&tree, &program)?;
    let binary = std::fs::read(&runtime).with_context(|| format!("read {}", runtime.display()))?;
    put(&tree, "usr/bin/berth-oci", &binary, 0o755)?;
    put(&tree, "DEBIAN/control", control(arch.trim(), upstream(&libc)).as_bytes(), 0o644)?;
    put(&tree, "DEBIAN/conffiles", CONFFILES.as_bytes(), 0o644)?;
    for (name, text) in SCRIPTS {
        put(&tree, &format!("DEBIAN/{name}"), text.as_bytes(), 0o755)?;
    }
    let package = dir.join(format!("berth_{VERSION}_{}.deb", arch.trim()));
    must(
        Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group"])
            .args([&tree, &package])
            .stdout(Stdio::null()),
    )?;
    Ok(package)
}

/// `berth-oci`: static, as it executes itself from memory for every container, and small.
fn runtime(profile: &str) -> Result<PathBuf> {
    let profile = if profile == "quick" { profile } else { "small" };
    let host = said(Command::new("rustc").arg("-vV"))?;
    let host =
        host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names its host")?.to_owned();
    let mut build = cargo(&["build", "--profile", profile, "--package", "berth-oci", "--target", &host]);
    // With a target, these flags are not for build scripts.
    let flags = "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static";
    must(build.env("CARGO_ENCODED_RUSTFLAGS", flags).env_remove("RUSTFLAGS"))?;
    Ok(target().join(host).join(profile).join("berth-oci"))
}

/// The files of the package.
fn fill(tree: &Path, program: &Path) -> Result<()> {
    let binary = std::fs::read(program).with_context(|| format!("read {}", program.display()))?;
    put(tree, "usr/bin/berth", &binary, 0o755)?;
    put(tree, "lib/systemd/system/berth.service", UNIT.as_bytes(), 0o644)?;
    for (shell, path) in COMPLETIONS {
        let text = said(Command::new(program).args(["completion", shell]))?;
        put(tree, path, text.as_bytes(), 0o644)?;
    }
    let config = said(Command::new(program).args(["documents", "config"]))?;
    put(tree, "etc/berth/config.toml", config.as_bytes(), 0o644)?;
    let manual = tree.join("usr/share/man/man1");
    std::fs::create_dir_all(&manual)?;
    must(Command::new(program).args(["documents", "manual"]).arg(&manual))?;
    for page in std::fs::read_dir(&manual)? {
        let page = page?.path();
        let packed = gzip(&std::fs::read(&page)?)?;
        let name = page.file_name().context("a page has a name")?.to_string_lossy().into_owned();
        put(tree, &format!("usr/share/man/man1/{name}.gz"), &packed, 0o644)?;
        std::fs::remove_file(&page)?;
    }
    let copyright = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: berth\n\nFiles: *\nCopyright: the authors of Berth\nLicense: Apache-2.0\n \
         On Debian systems the text of the licence is in /usr/share/common-licenses/Apache-2.0.\n";
    put(tree, "usr/share/doc/berth/copyright", copyright.as_bytes(), 0o644)?;
    let changes = std::fs::read(root().join("CHANGELOG.md")).context("read CHANGELOG.md")?;
    put(tree, "usr/share/doc/berth/changelog.gz", &gzip(&changes)?, 0o644)
}

/// What dpkg knows of the package. The C library is the one that the program was linked with, or newer.
fn control(arch: &str, libc: &str) -> String {
    format!(
        "Package: berth\nVersion: {VERSION}\nArchitecture: {arch}\n\
         Maintainer: The authors of Berth <berth@localhost>\nSection: admin\nPriority: optional\n\
         Depends: libc6 (>= {libc}), libgcc-s1\nRecommends: apparmor\n\
         Description: container runtime for Kubernetes and for one machine\n \
         The CRI v1 server under a kubelet, and from the same engine pods and containers on one machine.\n \
         Pods keep running while the daemon is stopped, upgraded and restarted.\n"
    )
}

/// The version without Debian's revision.
fn upstream(version: &str) -> &str {
    version.trim().split(['-', '+']).next().unwrap_or_default()
}

fn put(tree: &Path, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let file = tree.join(path);
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Packed without name and time, so that the same content gives the same package.
fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("gzip")
        .arg("-9n")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("run gzip")?;
    let mut input = child.stdin.take().context("a pipe to gzip")?;
    let packed = std::thread::scope(|scope| {
        // Fed from beside: a pipe that is full in both directions would stand still.
        let fed = scope.spawn(move || input.write_all(content));
        let packed = child.wait_with_output();
        fed.join().map_err(|_| anyhow::anyhow!("feeding gzip panicked"))??;
        anyhow::Ok(packed?)
    })?;
    ensure!(packed.status.success(), "gzip failed: {}", packed.status);
    Ok(packed.stdout)
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
