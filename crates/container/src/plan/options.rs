//! Mount options as text, as fstab and the runtime specification have them.

use berth_sys::mount as sys;

use super::{Attributes, PlanError, Propagation};

/// What a list of options says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// Whether it is a bind mount, and whether with the mounts below.
    pub(super) bind: Option<bool>,
    pub(super) attributes: Attributes,
    pub(super) recursive_attributes: Attributes,
    pub(super) propagation: Option<Propagation>,
    /// `idmap` or `ridmap`.
    pub(super) idmap: Option<bool>,
    /// What the file system itself understands.
    pub(super) data: Vec<(String, Option<Vec<u8>>)>,
}

/// Sets (or clears) bits: the last word counts.
fn apply(attributes: &mut Attributes, set: u64, clear: u64) {
    attributes.set = (attributes.set & !clear) | set;
    attributes.clear = (attributes.clear & !set) | clear;
}

/// Attribute words: bits to set and to clear. The access time is a field of several bits.
fn attribute(word: &str) -> Option<(u64, u64)> {
    Some(match word {
        "ro" => (sys::RDONLY, 0),
        "rw" => (0, sys::RDONLY),
        "nosuid" => (sys::NOSUID, 0),
        "suid" => (0, sys::NOSUID),
        "nodev" => (sys::NODEV, 0),
        "dev" => (0, sys::NODEV),
        "noexec" => (sys::NOEXEC, 0),
        "exec" => (0, sys::NOEXEC),
        "nodiratime" => (sys::NODIRATIME, 0),
        "diratime" => (0, sys::NODIRATIME),
        "nosymfollow" => (sys::NOSYMFOLLOW, 0),
        "symfollow" => (0, sys::NOSYMFOLLOW),
        "noatime" => (sys::NOATIME, sys::ATIME),
        "strictatime" => (sys::STRICTATIME, sys::ATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (sys::RELATIME, sys::ATIME),
        _ => return None,
    })
}

fn propagation(word: &str) -> Option<Propagation> {
    Some(match word {
        "private" => Propagation::Private,
        "rprivate" => Propagation::RecursivePrivate,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::RecursiveSlave,
        "shared" => Propagation::Shared,
        "rshared" => Propagation::RecursiveShared,
        "unbindable" => Propagation::Unbindable,
        "runbindable" => Propagation::RecursiveUnbindable,
        _ => return None,
    })
}

/// The words that mean the same for every file system.
const WORDS: [&str; 32] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "idmap",
    "loud",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "rbind",
    "relatime",
    "ridmap",
    "ro",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "unbindable",
    "rprivate",
];

/// The mount options that this program understands itself, in their order.
pub fn mount_options() -> Vec<String> {
    let recursive = |word: &&str| attribute(word).is_some() || propagation(word).is_some();
    let mut words: Vec<String> = WORDS.map(str::to_owned).into();
    words.extend(
        WORDS.iter().filter(|w| recursive(w) && !w.starts_with("rpriv")).map(|word| format!("r{word}")),
    );
    words.sort_unstable();
    words.dedup();
    words
}

/// `linux.rootfsPropagation`.
pub(super) fn root_propagation(word: &str) -> Result<Propagation, PlanError> {
    match word {
        "" => Ok(Propagation::Private),
        word => propagation(word).ok_or_else(|| {
            PlanError::invalid("linux.rootfsPropagation", format!("unknown propagation {word:?}"))
        }),
    }
}

impl Options {
    /// Parses options; `field` is their place, for errors.
    pub(super) fn parse(words: &[String], field: &str) -> Result<Options, PlanError> {
        let mut options = Options::default();
        for word in words {
            options.word(word, field)?;
        }
        Ok(options)
    }

    fn word(&mut self, word: &str, field: &str) -> Result<(), PlanError> {
        if let Some((set, clear)) = attribute(word) {
            // The field of the access time is cleared by the one that sets it.
            let keep_clear = clear == sys::ATIME;
            apply(&mut self.attributes, set, clear);
            if keep_clear {
                self.attributes.clear |= sys::ATIME;
            }
        } else if let Some(value) = propagation(word) {
            self.propagation = Some(value);
        } else if let Some((set, clear)) = word.strip_prefix('r').and_then(attribute) {
            apply(&mut self.recursive_attributes, set, clear);
            if clear == sys::ATIME {
                self.recursive_attributes.clear |= sys::ATIME;
            }
        } else {
            match word {
                "bind" => self.bind = Some(self.bind.unwrap_or(false)),
                "rbind" => self.bind = Some(true),
                "idmap" => self.idmap = Some(false),
                "ridmap" => self.idmap = Some(true),
                "defaults" | "async" | "nomand" | "loud" | "silent" => {}
                "remount" | "tmpcopyup" | "copy-symlink" => {
                    return Err(PlanError::unsupported(field, format!("the mount option {word}")));
                }
                data if self.bind.is_none() => self.data(data),
                data => {
                    return Err(PlanError::invalid(
                        field,
                        format!("the option {data:?} has no effect on a bind mount"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn data(&mut self, word: &str) {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value.as_bytes().to_vec())),
            None => (word, None),
        };
        self.data.push((key.to_owned(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_are_named_are_understood() {
        let words = mount_options();
        assert!(
            words.is_sorted() && words.contains(&"rro".to_owned()) && words.contains(&"rslave".to_owned())
        );
        for word in words {
            assert_eq!(
                Options::parse(std::slice::from_ref(&word), "options").unwrap().data,
                Vec::new(),
                "{word}"
            );
        }
    }
}
