//! The first file system of the machine: busybox, the modules of what the real one lies on, a script.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::run::must;

/// Mounts the real root and goes on there.
const INIT: &str = include_str!("init.sh");
/// What the kernel has as modules and the root needs.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "virtiofs", "overlay"];

/// A kernel of the distribution.
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) image: PathBuf,
}

/// The newest cloud kernel that is installed.
pub(super) fn newest_kernel() -> Result<Kernel> {
    let images = std::fs::read_dir("/boot").context("read /boot")?;
    let releases = images.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix("vmlinuz-").filter(|release| release.contains("cloud")).map(str::to_owned)
    });
    let numbers = |release: &String| -> Vec<u32> {
        release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
    };
    let release = releases.max_by_key(numbers).context("no cloud kernel lies in /boot")?;
    Ok(Kernel { image: Path::new("/boot").join(format!("vmlinuz-{release}")), release })
}

/// Writes `initrd.img` in `dir`.
pub(super) fn write(kernel: &Kernel, dir: &Path) -> Result<()> {
    let tree = dir.join("initrd");
    if tree.exists() {
        std::fs::remove_dir_all(&tree)?;
    }
    for name in ["bin", "modules", "proc", "sys", "dev", "host", "changes", "root"] {
        std::fs::create_dir_all(tree.join(name))?;
    }
    std::fs::copy("/bin/busybox", tree.join("bin/busybox")).context("copy busybox")?;
    let mut order = Vec::new();
    for module in MODULES {
        for file in needed(kernel, module)? {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    for (number, file) in order.iter().enumerate() {
        std::fs::copy(file, tree.join(format!("modules/{number:03}.ko")))
            .with_context(|| format!("copy {}", file.display()))?;
    }
    let init = tree.join("init");
    std::fs::write(&init, INIT)?;
    must(Command::new("chmod").arg("0755").arg(&init))?;
    pack(&tree, &dir.join("initrd.img"))
}

/// The files of a module and of those it builds on, in the order of loading.
fn needed(kernel: &Kernel, module: &str) -> Result<Vec<PathBuf>> {
    let said = Command::new("modprobe")
        .args(["--set-version", &kernel.release, "--show-depends", module])
        .output()
        .context("run modprobe")?;
    ensure!(said.status.success(), "modprobe does not know {module} of {}", kernel.release);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let files = text.lines().filter_map(|line| line.strip_prefix("insmod "));
    Ok(files.filter_map(|line| line.split_whitespace().next()).map(PathBuf::from).collect())
}

fn pack(tree: &Path, image: &Path) -> Result<()> {
    let names = Command::new("busybox").args(["find", "."]).current_dir(tree).output()?.stdout;
    let mut cpio = Command::new("busybox")
        .args(["cpio", "-o", "-H", "newc"])
        .current_dir(tree)
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(image)?)
        .stderr(Stdio::null())
        .spawn()
        .context("run busybox cpio")?;
    cpio.stdin.take().context("a pipe to cpio")?.write_all(&names)?;
    ensure!(cpio.wait()?.success(), "cpio failed");
    Ok(())
}
