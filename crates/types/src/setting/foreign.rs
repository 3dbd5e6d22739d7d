//! What the configurations of other runtimes say, and what Berth has for it: the one table of `berth config import` and
//! docs/migrating.md.

mod containerd;
mod crio;

#[cfg(test)]
mod tests;

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// containerd's config.toml of the versions 2, 3 and 4.
    Containerd,
    /// CRI-O's crio.conf.
    Crio,
}

/// A key of another runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// Its path with points; `*` is one name, `**` at the end any number of them. `cri` are the plugins of containerd that
    /// serve the CRI.
    pub path: &'static str,
    /// What Berth has.
    pub verdict: Verdict,
}

/// What Berth has for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This setting, with the value made like that.
    Key(&'static str, How),
    /// Nothing, and nothing is needed.
    Needless(&'static str),
    /// Nothing.
    Lacking(&'static str),
}

/// How a value becomes one of Berth's. An empty one says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// As it is; a number as text becomes a number, one text where a list is wanted a list.
    Same,
    /// Paths with colons between them become a list.
    Colons,
    /// A level of logrus.
    Level,
    /// Go's form of a time.
    Time,
    /// Whether systemd manages cgroups.
    Systemd,
    /// The name of a runtime; for runc and crun Berth has its own.
    Runtime,
    /// A runtime's program or shim: `NAME=VALUE`, with the name in the path.
    Handler,
}

impl Program {
    /// Its keys.
    pub const fn keys(self) -> &'static [Foreign] {
        match self {
            Self::Containerd => containerd::KEYS,
            Self::Crio => crio::KEYS,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Crio => "CRI-O",
        }
    }

    /// What is known of a key; the first that fits.
    pub fn find(self, path: &[&str]) -> Option<&'static Foreign> {
        self.keys().iter().find(|foreign| foreign.fits(path))
    }
}

impl Foreign {
    /// Whether this is the key.
    fn fits(&self, path: &[&str]) -> bool {
        let mut names = path.iter();
        for wanted in self.path.split('.') {
            match (wanted, names.next()) {
                ("**", Some(_)) => return true,
                (_, None) => return false,
                (wanted, Some(name)) if wanted == "*" || wanted == *name => {}
                (_, Some(_)) => return false,
            }
        }
        names.next().is_none()
    }
}

const fn key(path: &'static str, key: &'static str, how: How) -> Foreign {
    Foreign { path, verdict: Verdict::Key(key, how) }
}

const fn needless(path: &'static str, why: &'static str) -> Foreign {
    Foreign { path, verdict: Verdict::Needless(why) }
}

const fn lacking(path: &'static str, why: &'static str) -> Foreign {
    Foreign { path, verdict: Verdict::Lacking(why) }
}
