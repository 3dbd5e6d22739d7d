//! Versions of the CNI specification, and what each of them has.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A version that Berth speaks, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Version {
    #[serde(rename = "0.1.0")]
    V0_1_0,
    #[serde(rename = "0.2.0")]
    V0_2_0,
    #[serde(rename = "0.3.0")]
    V0_3_0,
    #[serde(rename = "0.3.1")]
    V0_3_1,
    #[serde(rename = "0.4.0")]
    V0_4_0,
    #[serde(rename = "1.0.0")]
    V1_0_0,
    #[serde(rename = "1.1.0")]
    V1_1_0,
}

/// How results are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `ip4` and `ip6`.
    Families,
    /// `interfaces`, and `ips` that each name their family.
    Marked,
    /// The same without the family.
    Plain,
}

impl Version {
    pub(super) const ALL: [Self; 7] =
        [Self::V0_1_0, Self::V0_2_0, Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    pub(super) const NEWEST: Self = Self::V1_1_0;
    /// What a configuration is of that does not say it.
    pub(super) const UNSAID: Self = Self::V0_1_0;

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// `None` for a version that Berth does not speak.
    pub(super) fn known(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.text() == text)
    }

    pub(super) const fn layout(self) -> Layout {
        match self {
            Self::V0_1_0 | Self::V0_2_0 => Layout::Families,
            Self::V0_3_0 | Self::V0_3_1 | Self::V0_4_0 => Layout::Marked,
            Self::V1_0_0 | Self::V1_1_0 => Layout::Plain,
        }
    }

    /// CHECK, and the result of ADD for CHECK and DEL.
    pub(super) fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// STATUS and GC.
    pub(super) fn has_status(self) -> bool {
        self >= Self::V1_1_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
