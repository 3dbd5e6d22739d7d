//! Which entry of an image index fits a machine.
//!
//! The rules are those of containerd's matcher: architecture names are normalised, each
//! architecture has an ordered list of what it can run, and the best entry is the earliest of
//! that list, then the earliest in the index.

use std::fmt;

/// An operating system, an architecture and, where it matters, the variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

/// A string that is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform: expected OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/arm64")]
pub struct ParsePlatformError(pub String);

impl Platform {
    /// A normalised platform: `x86_64` is `amd64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let lower = |s: &str| s.to_ascii_lowercase();
        let os = if lower(os) == "macos" { "darwin".to_owned() } else { lower(os) };
        let variant = match lower(variant) {
            digits if digits.parse::<u8>().is_ok() => format!("v{digits}"),
            variant => variant,
        };
        let (architecture, variant) = match (lower(architecture).as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", v) => {
                ("amd64".to_owned(), if v == "v1" { "" } else { v }.to_owned())
            }
            ("i386" | "386", _) => ("386".to_owned(), String::new()),
            ("aarch64" | "arm64", v) => ("arm64".to_owned(), if v == "v8" { "" } else { v }.to_owned()),
            ("armhf", _) | ("arm", "") => ("arm".to_owned(), "v7".to_owned()),
            ("armel", _) => ("arm".to_owned(), "v6".to_owned()),
            (architecture, variant) => (architecture.to_owned(), variant.to_owned()),
        };
        Self { os, architecture, variant }
    }

    /// Operating system, architecture and variant, as an image's configuration has them.
    pub(crate) fn parts(&self) -> [&str; 3] {
        [&self.os, &self.architecture, &self.variant]
    }

    /// The platform this program runs on.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// What a machine of this platform can run, best first.
    fn accepts(&self) -> Vec<Platform> {
        let with = |architecture: &str, variant: String| Platform {
            os: self.os.clone(),
            architecture: architecture.to_owned(),
            variant,
        };
        let version = |variant: &str| variant.strip_prefix('v').and_then(|v| v.parse::<u8>().ok());
        let arm_down_from =
            |version: u8| (5..=version).rev().map(|v| with("arm", format!("v{v}"))).collect::<Vec<_>>();
        match self.architecture.as_str() {
            "amd64" => {
                let mut all = vec![self.clone()];
                let newest = version(&self.variant).unwrap_or(1).saturating_sub(1);
                all.extend((2..=newest).rev().map(|v| with("amd64", format!("v{v}"))));
                if !self.variant.is_empty() {
                    all.push(with("amd64", String::new()));
                }
                all.push(with("386", String::new()));
                all
            }
            "arm64" => {
                let mut all = vec![self.clone()];
                if !self.variant.is_empty() {
                    all.push(with("arm64", String::new()));
                }
                all.extend(arm_down_from(8));
                all
            }
            "arm" => match version(&self.variant) {
                Some(v) if v > 5 => arm_down_from(v),
                _ => vec![self.clone()],
            },
            _ => vec![self.clone()],
        }
    }

    /// The index of the candidate that fits best. Equals are decided by their order.
    pub fn choose<'a>(&self, candidates: impl IntoIterator<Item = &'a Platform>) -> Option<usize> {
        let accepts = self.accepts();
        let rank = |candidate: &Platform| accepts.iter().position(|a| a == candidate);
        candidates
            .into_iter()
            .enumerate()
            .filter_map(|(index, candidate)| rank(candidate).map(|rank| (rank, index)))
            .min()
            .map(|(_, index)| index)
    }
}

impl std::str::FromStr for Platform {
    type Err = ParsePlatformError;
    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let word =
            |s: &&str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture] if [os, architecture].into_iter().all(word) => {
                Ok(Self::new(os, architecture, ""))
            }
            [os, architecture, variant] if parts.iter().all(word) => Ok(Self::new(os, architecture, variant)),
            _ => Err(ParsePlatformError(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
