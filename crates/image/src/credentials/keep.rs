//! The file in which credentials are kept: docker's `config.json`, or what `$REGISTRY_AUTH_FILE` names. What else is in it stays.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_sys::fs::read_bounded;
use rustix::fs::{Mode, OFlags};
use serde_json::{Map, Value, json};

use super::file::{ConfigJson, CredentialFiles, FileError, MAX_FILE, helper_server, is_whole_server};
use super::{Environment, helper};

/// Names that are tried for a temporary file.
const TEMPORARY: u32 = 8;

/// A file of credentials that is written to.
#[derive(Debug, Clone)]
pub struct AuthFile {
    path: PathBuf,
}

impl AuthFile {
    /// This file.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The first file in the order of [`CredentialFiles`] that knows the registry: what a later one says would not be
    /// heard. Where none does, the last, which is docker's `config.json`. Nothing without a home.
    pub fn standard(environment: &Environment, registry: &str) -> Option<Self> {
        let files = CredentialFiles::standard(environment);
        let mut all = files.paths().iter().cloned().map(Self::at);
        let known = all.clone().find(|file| file.knows(registry));
        known.or_else(|| all.next_back())
    }

    /// Whether the file has something for a registry.
    fn knows(&self, registry: &str) -> bool {
        let Ok(mut document) = self.read() else { return false };
        self.auths(&mut document).is_ok_and(|auths| auths.keys().any(|key| is_whole_server(key, registry)))
    }

    /// Keeps a user's password for a registry: here, or in the credential helper that the file names.
    ///
    /// # Errors
    /// The file cannot be read or written, or the helper fails.
    pub async fn keep(&self, registry: &str, username: &str, password: &str) -> Result<(), FileError> {
        let mut document = self.read()?;
        let server = helper_server(registry);
        let entry = match self.helper(&document, registry)? {
            Some(name) => {
                let given = json!({ "ServerURL": server, "Username": username, "Secret": password });
                helper::tell(&name, "store", &given.to_string()).await.map_err(|e| self.helper_failed(e))?;
                // As docker: the registry is known, and its secret is elsewhere.
                json!({})
            }
            None => json!({ "auth": STANDARD.encode(format!("{username}:{password}")) }),
        };
        let auths = self.auths(&mut document)?;
        auths.retain(|key, _| !is_whole_server(key, registry));
        auths.insert(server, entry);
        self.write(&document)
    }

    /// Forgets what is kept for a registry. True when there was something.
    ///
    /// # Errors
    /// As [`AuthFile::keep`].
    pub async fn forget(&self, registry: &str) -> Result<bool, FileError> {
        let mut document = self.read()?;
        let helper = self.helper(&document, registry)?;
        let auths = self.auths(&mut document)?;
        let before = auths.len();
        auths.retain(|key, _| !is_whole_server(key, registry));
        let known = auths.len() < before;
        if let Some(name) = helper.filter(|_| known) {
            let server = helper_server(registry);
            helper::tell(&name, "erase", &server).await.map_err(|e| self.helper_failed(e))?;
        }
        if known {
            self.write(&document)?;
        }
        Ok(known)
    }

    fn helper_failed(&self, source: helper::HelperError) -> FileError {
        FileError::Helper { path: self.path.clone(), source }
    }

    fn malformed(&self, line: usize) -> FileError {
        FileError::Malformed { path: self.path.clone(), line }
    }

    fn helper(&self, document: &Map<String, Value>, registry: &str) -> Result<Option<String>, FileError> {
        let config: ConfigJson =
            serde_json::from_value(Value::Object(document.clone())).map_err(|e| self.malformed(e.line()))?;
        Ok(config.helper(registry))
    }

    fn auths<'a>(
        &self,
        document: &'a mut Map<String, Value>,
    ) -> Result<&'a mut Map<String, Value>, FileError> {
        let auths = document.entry("auths").or_insert_with(|| json!({}));
        if auths.is_null() {
            *auths = json!({});
        }
        auths.as_object_mut().ok_or_else(|| self.malformed(0))
    }

    fn read(&self) -> Result<Map<String, Value>, FileError> {
        let text = match read_bounded(&self.path, MAX_FILE) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Map::new()),
            Err(e) if e.kind() == ErrorKind::FileTooLarge => {
                return Err(FileError::TooLarge { path: self.path.clone() });
            }
            Err(source) => return Err(FileError::Read { path: self.path.clone(), source }),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Map::new());
        }
        serde_json::from_slice(&text).map_err(|e| self.malformed(e.line()))
    }

    /// For its owner alone, who stays the same: root writes for the user whose home it is. A link to the file stays one.
    fn write(&self, document: &Map<String, Value>) -> Result<(), FileError> {
        let failed = |source| FileError::Write { path: self.path.clone(), source };
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
        let of_dir = make_dir(dir).map_err(failed)?;
        let owner = std::fs::symlink_metadata(&path).map_or(of_dir, |old| (old.uid(), old.gid()));
        let mut text = serde_json::to_vec_pretty(document).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        replace(&path, &text, owner).map_err(failed)
    }
}

type Owner = (u32, u32);

/// Makes a directory and those above it, for the owner of the one that is there. Whose it is.
fn make_dir(dir: &Path) -> io::Result<Owner> {
    match std::fs::metadata(dir) {
        Ok(there) => return Ok((there.uid(), there.gid())),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        Err(_) => {}
    }
    let above = dir.parent().filter(|above| *above != Path::new("")).unwrap_or(Path::new("."));
    let owner = make_dir(above)?;
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        // Somebody was faster.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return make_dir(dir),
        made => made?,
    }
    // By what was just made, and through no link that was put in its place.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    give(&File::from(rustix::fs::open(dir, flags, Mode::empty())?), owner)?;
    Ok(owner)
}

/// Gives a file to its owner where it is another's.
fn give(file: &File, (uid, gid): Owner) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (uid, gid) {
        return Ok(());
    }
    match std::os::unix::fs::fchown(file, Some(uid), Some(gid)) {
        // Only root gives away; a group of a directory need not be the user's.
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

/// Writes a file anew beside the old one, and puts it in its place: nobody reads half of it, and no link is followed.
fn replace(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    for number in 0..TEMPORARY {
        let mut name = path.file_name().map(OsString::from).ok_or(ErrorKind::InvalidInput)?;
        name.push(format!(".{}-{number}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let mut file = match File::options().write(true).create_new(true).mode(0o600).open(&temporary) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
            file => file?,
        };
        let written = give(&file, owner)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&temporary, path));
        if written.is_err() {
            // It is useless, and its name says so.
            std::fs::remove_file(&temporary).ok();
        }
        return written;
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "temporary files of earlier attempts are in the way"))
}

#[cfg(test)]
mod tests;
