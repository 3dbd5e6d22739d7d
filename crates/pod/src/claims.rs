//! What claims stand for: directories under the root directory that outlive the pods which use them.
//!
//! ```text
//! <root>/claims/NAMESPACE/NAME/claim    the claim's document
//! <root>/claims/NAMESPACE/NAME/data     what pods mount
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::manifest::Claim;

/// The most claims.
pub const MAX_CLAIMS: usize = 1000;
const DOCUMENT: &str = "claim";
const DATA: &str = "data";

/// A claim that is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
}

/// Why a claim is not made or removed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Its directory cannot be made or removed.
    #[error("PersistentVolumeClaim {name}: {path}")]
    Disk {
        /// Which.
        name: String,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A pod has it mounted.
    #[error("PersistentVolumeClaim {name} is used by pod {pod}")]
    Used {
        /// Which.
        name: String,
        /// By which.
        pod: String,
    },
    /// There are as many as there may be.
    #[error("the limit of {MAX_CLAIMS} PersistentVolumeClaims is reached")]
    TooMany,
}

impl berth_types::Classify for ClaimError {
    fn kind(&self) -> berth_types::Kind {
        match self {
            Self::Disk { .. } => berth_types::Kind::Internal,
            Self::Used { .. } => berth_types::Kind::Precondition,
            Self::TooMany => berth_types::Kind::Exhausted,
        }
    }
}

/// What pods mount of a claim. `dir` is `<root>/claims`.
pub fn data(dir: &Path, namespace: &str, name: &str) -> PathBuf {
    dir.join(namespace).join(name).join(DATA)
}

/// Makes the directory of a claim; one that is there stays as it is. True when it is new.
pub fn make(dir: &Path, claim: &Claim) -> Result<bool, ClaimError> {
    let path = data(dir, &claim.namespace, &claim.name);
    if path.is_dir() {
        return Ok(false);
    }
    if all(dir).len() >= MAX_CLAIMS {
        return Err(ClaimError::TooMany);
    }
    let failed = |source| ClaimError::Disk { name: claim.name.clone(), path: path.clone(), source };
    one(&path, claim).map_err(failed)?;
    Ok(true)
}

/// The directories above keep others out: there may be programs in it that are setuid.
fn one(path: &Path, claim: &Claim) -> io::Result<()> {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    let above = path.parent().unwrap_or(path);
    private.create(above)?;
    fs::write(above.join(DOCUMENT), &claim.source)?;
    private.create(path)?;
    // Every user in a pod may write, as in an emptyDir.
    fs::set_permissions(path, Permissions::from_mode(0o777))
}

/// Every claim that is kept.
pub fn all(dir: &Path) -> Vec<Kept> {
    let names = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let mut found = Vec::new();
    for namespace in names(dir) {
        for name in names(&dir.join(&namespace)) {
            let path = data(dir, &namespace, &name);
            if path.is_dir() {
                found.push(Kept { namespace: namespace.clone(), name, path });
            }
        }
    }
    found.sort();
    found
}

/// Removes a claim with all that is in it. True when there was one: the names come from a manifest that nobody has checked, and mean
/// only what is kept under them.
pub fn remove(dir: &Path, namespace: &str, name: &str) -> Result<bool, ClaimError> {
    let is_it = |kept: &Kept| kept.namespace == namespace && kept.name == name;
    if !all(dir).iter().any(is_it) {
        return Ok(false);
    }
    let path = dir.join(namespace).join(name);
    let failed = |source| ClaimError::Disk { name: name.to_owned(), path: path.clone(), source };
    berth_engine::remove_tree(&path).map_err(failed)?;
    // The last one of its namespace.
    fs::remove_dir(dir.join(namespace)).ok();
    Ok(true)
}

#[cfg(test)]
mod tests;
