//! registries.d: where the signatures of a registry's images are.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use berth_types::ImageRef;
use serde::Deserialize;

use crate::MAX_FILE;
use crate::identity::repository_of;
use crate::rule::scopes;

/// The most files of the directory.
const MAX_FILES: usize = 1000;
/// Where signatures are when nothing says where.
const STANDARD: &str = "file:///var/lib/containers/sigstore";

/// What the directory says.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    default: Option<Section>,
    docker: BTreeMap<String, (PathBuf, Section)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    #[serde(rename = "default-docker")]
    default: Option<Section>,
    docker: Option<BTreeMap<String, Section>>,
}

/// What is said of a scope. What is said of staging is for those who sign.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Section {
    lookaside: Option<String>,
    lookaside_staging: Option<String>,
    sigstore: Option<String>,
    sigstore_staging: Option<String>,
    use_sigstore_attachments: Option<bool>,
}

/// Where the signatures of an image are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where {
    /// The URL of a directory of them: `file`, `http` or `https`; the repository is part of it.
    pub lookaside: String,
    /// Whether they are also in the registry, beside the image.
    pub attachments: bool,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// A file, or the directory, cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it has to be.
    #[error("{}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in it, and what is wrong.
        why: String,
    },
}

impl Registries {
    /// Reads the files of a directory, which need not exist.
    ///
    /// # Errors
    /// See [`RegistriesError`].
    pub fn read(dir: &Path) -> Result<Self, RegistriesError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RegistriesError::Read { path, source }
        };
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(dir)(error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed(dir))?.path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                paths.push(path);
            }
            if paths.len() > MAX_FILES {
                let why = format!("more than {MAX_FILES} files");
                return Err(RegistriesError::Invalid { path: dir.to_owned(), why });
            }
        }
        paths.sort();
        let mut all = Self::default();
        let mut default_from = None;
        for path in paths {
            let bytes = berth_sys::fs::read_regular(&path, MAX_FILE).map_err(failed(&path))?;
            all.add(&path, &bytes, &mut default_from)
                .map_err(|why| RegistriesError::Invalid { path: path.clone(), why })?;
        }
        Ok(all)
    }

    fn add(&mut self, path: &Path, bytes: &[u8], from: &mut Option<PathBuf>) -> Result<(), String> {
        let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
        let empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        let file: File = match empty {
            true => File::default(),
            false => serde_saphyr::from_str(text).map_err(|e| e.without_snippet().to_string())?,
        };
        if let Some(section) = file.default {
            if let Some(other) = from {
                return Err(format!("default-docker: it is also in {}", other.display()));
            }
            section.check("default-docker")?;
            (self.default, *from) = (Some(section), Some(path.to_owned()));
        }
        for (scope, section) in file.docker.unwrap_or_default() {
            section.check(&scope)?;
            if let Some((other, _)) = self.docker.get(&scope) {
                return Err(format!("docker: {scope}: it is also in {}", other.display()));
            }
            self.docker.insert(scope, (path.to_owned(), section));
        }
        Ok(())
    }

    /// Where an image's signatures are. What the most specific scope leaves out is looked for in the next.
    pub fn find(&self, reference: &ImageRef) -> Where {
        let scopes = scopes(reference);
        let named = scopes.iter().filter_map(|scope| self.docker.get(scope).map(|(_, section)| section));
        let sections: Vec<&Section> = named.chain(&self.default).collect();
        let base = sections.iter().find_map(|s| s.base()).unwrap_or(STANDARD);
        let attachments = sections.iter().find_map(|s| s.use_sigstore_attachments).unwrap_or(false);
        let repository = repository_of(reference);
        let path = repository.split_once('/').map_or("", |(_, path)| path);
        Where { lookaside: format!("{}/{path}", base.trim_end_matches('/')), attachments }
    }
}

impl Section {
    fn base(&self) -> Option<&str> {
        let given = |url: &&str| !url.is_empty();
        self.lookaside.as_deref().filter(given).or(self.sigstore.as_deref().filter(given))
    }

    fn check(&self, place: &str) -> Result<(), String> {
        match self.base() {
            Some(url) if !["file:///", "http://", "https://"].iter().any(|known| url.starts_with(known)) => {
                let url: String = url.chars().take(128).collect();
                Err(format!("{place}: lookaside: {url:?} is not a file:///, http:// or https:// URL"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
