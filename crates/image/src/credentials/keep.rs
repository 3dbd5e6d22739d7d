//! The file in which credentials are kept: docker's `config.json`, or what `$REGISTRY_AUTH_FILE` names. What else is in it stays.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_sys::fs::{Durability, read_bounded, write_atomic};
use serde_json::{Map, Value, json};

use super::file::{ConfigJson, CredentialFiles, FileError, MAX_FILE, helper_server, is_whole_server};
use super::{Environment, helper};

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

    /// For its owner alone. A link to the file stays one.
    fn write(&self, document: &Map<String, Value>) -> Result<(), FileError> {
        let failed = |source| FileError::Write { path: self.path.clone(), source };
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        if let Some(dir) = path.parent().filter(|dir| *dir != Path::new("")) {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        }
        let mut text = serde_json::to_vec_pretty(document).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        write_atomic(&path, &text, Durability::Process).map_err(failed)
    }
}

#[cfg(test)]
mod tests;
