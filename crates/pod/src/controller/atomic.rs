//! A directory of files that change all at once, as the kubelet's AtomicWriter makes it:
//!
//! ```text
//! key -> ..data/key       ..data -> ..1764407000.123456789       ..1764407000.123456789/key
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::SystemTime;

use super::give;
use crate::plan::Files;

/// The link to the directory with the present files.
const DATA: &str = "..data";

/// Fills `volume`, an empty directory, for `group`. Everyone in the pod may enter it; the directories above it keep others out.
pub(super) fn write(volume: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let stamp = format!("..{}.{:09}", now.as_secs(), now.subsec_nanos());
    let dir = volume.join(&stamp);
    open_dir(&dir, group)?;
    for (path, content) in files {
        let parents: Vec<_> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
        for parent in parents.into_iter().rev() {
            open_dir(&dir.join(parent), group)?;
        }
        let path = dir.join(path);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(&content.bytes)?;
        file.set_permissions(fs::Permissions::from_mode(content.mode))?;
        give::file(&path, content.mode, group)?;
    }
    let next = volume.join("..data_tmp");
    symlink(&stamp, &next)?;
    fs::rename(&next, volume.join(DATA))?;
    let first: BTreeSet<_> = files.keys().filter_map(|path| path.components().next()).collect();
    first.into_iter().try_for_each(|name| symlink(Path::new(DATA).join(name), volume.join(name)))
}

/// With this mode whatever the umask is.
fn open_dir(path: &Path, group: Option<u32>) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    give::dir(path, 0o755, give::READ, group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Content;

    #[test]
    fn files_are_behind_one_link() {
        let dir = tempfile::tempdir().unwrap();
        let content = |text: &str, mode| Content { mode, bytes: text.as_bytes().to_vec() };
        let files = Files::from([
            ("a".into(), content("one", 0o644)),
            ("d/e/f".into(), content("two", 0o400)),
            ("d/g".into(), content("", 0o777)),
        ]);
        write(dir.path(), &files, None).unwrap();
        for (path, content) in &files {
            let path = dir.path().join(path);
            assert_eq!(fs::read(&path).unwrap(), content.bytes);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, content.mode, "{path:?}");
        }
        assert_eq!(fs::read_link(dir.path().join("d")).unwrap(), Path::new("..data/d"));
        let stamp = fs::read_link(dir.path().join(DATA)).unwrap();
        assert!(dir.path().join(&stamp).join("d/e/f").is_file(), "{stamp:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }
}
