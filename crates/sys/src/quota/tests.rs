//! On an ext4 of the test's own, where the kernel has what that needs.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use super::*;

#[test]
fn the_kernels_structures_have_its_sizes() {
    // x86_64 and aarch64: linux/dqblk_xfs.h and linux/fs.h.
    assert_eq!(size_of::<QuotaStat>(), 80);
    assert_eq!(size_of::<Attributes>(), 28);
    assert_eq!((GET_ATTRIBUTES as u32, SET_ATTRIBUTES as u32), (0x801c_581f, 0x401c_5820));
}

#[test]
fn a_file_system_without_project_quotas_says_so() {
    let dir = File::open("/proc").unwrap();
    assert_eq!(support(&dir).unwrap(), Support::None);
    assert!(project(&dir, 7).is_err());
}

/// Runs `body` on an ext4 with project quotas; why not, where there is none to be had.
fn on_ext4(body: impl FnOnce(&Path) + Send) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let (image, at) = (dir.path().join("image"), dir.path().join("at"));
    std::fs::create_dir(&at).unwrap();
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let run = |program: &str, arguments: &[&str]| match Command::new(program).args(arguments).output() {
        Ok(said) if said.status.success() => Ok(()),
        Ok(said) => Err(format!("{program}: {}", String::from_utf8_lossy(&said.stderr).trim())),
        Err(e) => Err(format!("{program}: {e}")),
    };
    let (image, place) = (image.display().to_string(), at.display().to_string());
    run("mkfs.ext4", &["-q", "-O", "quota,project", "-E", "quotatype=prjquota", &image])?;
    run("mount", &["-o", "loop,prjquota", &image, &place])
        .map_err(|e| format!("the kernel has no quotas of ext4: {}", e.lines().next().unwrap_or("")))?;
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&at)));
    run("umount", &[&place]).unwrap();
    done.map_err(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn a_project_is_counted_limited_and_given_back() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: a_project_is_counted_limited_and_given_back: needs root");
        return;
    }
    let tested = on_ext4(|at| {
        let root = File::open(at).unwrap();
        assert_eq!(support(&root).unwrap(), Support::Enforced);
        let dir = at.join("dir");
        std::fs::create_dir(&dir).unwrap();
        let open = File::open(&dir).unwrap();
        assert!(project(&root, 1_234_567).unwrap().is_unused());
        give_project(&open, 1_234_567).unwrap();
        set_limit(&root, 1_234_567, (1 << 20) - 1).unwrap();
        std::fs::create_dir(dir.join("below")).unwrap();
        std::fs::write(dir.join("below/file"), vec![1; 512 << 10]).unwrap();
        assert_eq!(project_of(File::open(dir.join("below/file")).unwrap()).unwrap(), 1_234_567);
        let now = project(&root, 1_234_567).unwrap();
        assert_eq!((now.inodes, now.limit), (3, 1 << 20));
        assert!(now.bytes >= 512 << 10, "{now:?}");
        let error = std::fs::write(dir.join("more"), vec![1; 1 << 20]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::QuotaExceeded | ErrorKind::StorageFull), "{error}");
        // Another tree is not bound.
        std::fs::write(at.join("more"), vec![1; 2 << 20]).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        set_limit(&root, 1_234_567, 0).unwrap();
        drop(open);
        assert!(project(&root, 1_234_567).unwrap().is_unused());
    });
    if let Err(reason) = tested {
        eprintln!("skipped: a_project_is_counted_limited_and_given_back: {reason}");
    }
}
