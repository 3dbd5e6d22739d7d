//! What pods have by one kind of handler and not by another. The one table of it: what refuses asks it
//! ([`Ability::need`]), and `cargo xtask docs` writes it into `docs/handlers.md`.

use std::fmt;

/// A kind of handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// Berth's own runtime.
    Native,
    /// A program with runc's command line: runc, crun.
    Runtime,
}

/// Something that not every kind has in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Pods with user namespaces.
    UserNamespaces,
    /// Environment variables whose values are not text.
    RawEnvironment,
    /// Mounts that a container makes in a volume with id mappings appear on the host.
    MappedPropagation,
    /// Mounts that are read-only with everything below them.
    RecursiveReadOnly,
    /// No mount of a container's root on the host.
    UnmountedRoot,
}

/// How far a kind has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Has {
    /// It does.
    Yes,
    /// It does, with this to be said about it.
    But(&'static str),
    /// The runtime decides, as this says; nothing is refused before it.
    Depends(&'static str),
    /// Another way to the same, which an operator sees.
    Otherwise(&'static str),
    /// What asks for it is refused by name.
    Refused,
}

/// What a kind of handler does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacking {
    ability: Ability,
    maker: Maker,
}

impl Maker {
    /// Every kind.
    pub const ALL: [Maker; 2] = [Maker::Native, Maker::Runtime];

    /// The names of its handlers.
    pub fn words(self) -> &'static str {
        match self {
            Maker::Native => "native",
            Maker::Runtime => "runc, crun",
        }
    }
}

impl Ability {
    /// Every one, in the order of the document.
    pub const ALL: [Ability; 5] = [
        Ability::UserNamespaces,
        Ability::RawEnvironment,
        Ability::MappedPropagation,
        Ability::RecursiveReadOnly,
        Ability::UnmountedRoot,
    ];

    /// What it is.
    pub fn words(self) -> &'static str {
        match self {
            Ability::UserNamespaces => "user namespaces of pods",
            Ability::RawEnvironment => "environment variables whose values are not text",
            Ability::MappedPropagation => {
                "mounts in a volume with id mappings that appear on the host (`Bidirectional`)"
            }
            Ability::RecursiveReadOnly => "recursive read-only mounts",
            Ability::UnmountedRoot => "root file systems outside of the host's mount table",
        }
    }

    /// Whether pods have it by this kind of handler.
    pub fn of(self, maker: Maker) -> Has {
        match (self, maker) {
            (_, Maker::Native) => Has::Yes,
            (Ability::UserNamespaces, Maker::Runtime) => Has::But(
                "a kubelet is told so where the runtime says that it has idmapped mounts, which Berth does not need of it; \
                 crun 1.8 shows nothing that is mounted below a volume",
            ),
            (Ability::RawEnvironment | Ability::MappedPropagation, Maker::Runtime) => Has::Refused,
            (Ability::RecursiveReadOnly, Maker::Runtime) => {
                Has::Depends("runc; crun from 1.9 on, which tells that it can")
            }
            (Ability::UnmountedRoot, Maker::Runtime) => {
                Has::Otherwise("one mount for each container, in its pod's directory")
            }
        }
    }

    /// Asks for it by this kind of handler.
    ///
    /// # Errors
    /// It is to be refused.
    pub fn need(self, maker: Maker) -> Result<(), Lacking> {
        match self.of(maker) {
            Has::Yes | Has::But(_) | Has::Depends(_) | Has::Otherwise(_) => Ok(()),
            Has::Refused => Err(Lacking { ability: self, maker }),
        }
    }
}

impl fmt::Display for Has {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Has::Yes => f.write_str("yes"),
            Has::But(but) => write!(f, "yes; {but}"),
            Has::Depends(how) | Has::Otherwise(how) => f.write_str(how),
            Has::Refused => f.write_str("refused by name"),
        }
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ability, maker } = self;
        write!(f, "handlers of the kind of {} do not have {}", maker.words(), ability.words())
    }
}

impl std::error::Error for Lacking {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_table_once_and_native_has_all() {
        let mut words: Vec<&str> = Ability::ALL.iter().map(|ability| ability.words()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Ability::ALL.len());
        for ability in Ability::ALL {
            assert_eq!(ability.need(Maker::Native), Ok(()));
            // A row in which nothing differs is none.
            assert_ne!(ability.of(Maker::Native), ability.of(Maker::Runtime), "{ability:?}");
        }
    }

    #[test]
    fn what_is_refused_is_named() {
        let refused = Ability::RawEnvironment.need(Maker::Runtime).unwrap_err().to_string();
        assert_eq!(
            refused,
            "handlers of the kind of runc, crun do not have environment variables whose values are not text"
        );
        assert_eq!(Ability::UserNamespaces.need(Maker::Runtime), Ok(()));
    }
}
