//! Where it is said which images may be used.

use std::path::{Path, PathBuf};

use berth_engine::image::trust::Place;

use super::{SettingsError, absolute};

/// The file that need not be there, also where it is named.
const STANDARD: &str = "/etc/containers/policy.json";

/// The places that were given, else those that other programs have too.
pub(super) fn places(
    policy: Option<PathBuf>,
    dir: Option<PathBuf>,
    registries: Option<PathBuf>,
) -> Result<Place, SettingsError> {
    let path = |name, given: Option<PathBuf>, standard: &str| {
        absolute(name, given.unwrap_or_else(|| standard.into()))
    };
    Ok(Place {
        required: policy.as_deref().is_some_and(|path| path != Path::new(STANDARD)),
        file: path("signature-policy", policy, STANDARD)?,
        dir: path("signature-policy-dir", dir, "/etc/berth/policies")?,
        registries: path("signature-registries-dir", registries, "/etc/containers/registries.d")?,
    })
}
