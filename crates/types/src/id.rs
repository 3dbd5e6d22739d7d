//! Ids of sandboxes, containers and exec sessions: 64 hexadecimal digits.
//!
//! cAdvisor and other tools recognise a container by a cgroup whose last path element is such an
//! id, so the form is fixed. A prefix of an id is a look-up key, not an id; see [`is_prefix`].

use serde::{Deserialize, Serialize};

/// A string that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: expected 64 lower-case hexadecimal digits")]
pub struct ParseIdError(pub String);

/// Digits shown to people.
pub const SHORT: usize = 12;

const LEN: usize = 64;

fn valid(text: &str) -> bool {
    text.len() == LEN && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `text` can stand for the beginning of an id: 1 to 64 lower-case hexadecimal digits.
pub fn is_prefix(text: &str) -> bool {
    !text.is_empty() && text.len() <= LEN && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id made of 32 random bytes.
            pub fn from_random(bytes: [u8; 32]) -> Self {
                use std::fmt::Write;
                let mut text = String::with_capacity(LEN);
                for byte in bytes {
                    write!(text, "{byte:02x}").expect("writing to a String does not fail");
                }
                Self(text)
            }

            /// The whole id.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first [`SHORT`] digits, for users.
            pub fn short(&self) -> &str {
                &self.0[..SHORT]
            }
        }

        /// Ids are in the order of their digits, so that a map finds one by its beginning.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.to_owned().try_into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;
            fn try_from(text: String) -> Result<Self, ParseIdError> {
                if valid(&text) { Ok(Self(text)) } else { Err(ParseIdError(text)) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }
    };
}

id! {
    /// The id of a pod sandbox.
    SandboxId
}
id! {
    /// The id of a container.
    ContainerId
}
id! {
    /// The id of an exec session.
    ExecId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_make_an_id_that_parses_back() {
        let id = SandboxId::from_random([0xab; 32]);
        assert_eq!(id.as_str(), "ab".repeat(32));
        assert_eq!(id.short(), "ab".repeat(6));
        assert_eq!(id.as_str().parse::<SandboxId>(), Ok(id));
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "ab", &"A".repeat(64), &"g".repeat(64), &"a".repeat(65), &"../".repeat(21)] {
            assert!(text.parse::<ContainerId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_is_hexadecimal_and_not_empty() {
        assert!(is_prefix("0f"));
        assert!(!is_prefix(""));
        assert!(!is_prefix("web"));
        assert!(!is_prefix(&"a".repeat(65)));
    }
}
