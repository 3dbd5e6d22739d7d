//! Hooks: programs that are run at points of a container's life, as the runtime specification has them.

use serde::{Deserialize, Serialize};

/// A program that is run on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The program, absolute.
    pub path: String,
    /// Its arguments with its name; none is its path alone.
    pub args: Vec<String>,
    /// Its environment; None is that of who runs it.
    pub env: Option<Vec<String>>,
    /// How long it may take, in seconds.
    pub timeout_s: Option<u32>,
}

/// All hooks of a container, by when they run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// As [`At::Prestart`], and so on.
    pub prestart: Vec<Hook>,
    /// When the container is made.
    pub create_runtime: Vec<Hook>,
    /// The same, in its namespaces.
    pub create_container: Vec<Hook>,
    /// Before its program.
    pub start_container: Vec<Hook>,
    /// After its program has begun.
    pub poststart: Vec<Hook>,
    /// When it is gone.
    pub poststop: Vec<Hook>,
}

/// When hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// While it is created: namespaces and mounts are made, its root is not yet that of its process.
    Prestart,
    /// The same, after those.
    CreateRuntime,
    /// The same, in its namespaces.
    CreateContainer,
    /// When it is started, in the container, as its process will run.
    StartContainer,
    /// After its program has begun.
    Poststart,
    /// When nothing of it runs any more.
    Poststop,
}

impl At {
    /// All of them, in their order.
    pub const ALL: [At; 6] = [
        At::Prestart,
        At::CreateRuntime,
        At::CreateContainer,
        At::StartContainer,
        At::Poststart,
        At::Poststop,
    ];

    /// Its name in a specification.
    pub fn name(self) -> &'static str {
        match self {
            At::Prestart => "prestart",
            At::CreateRuntime => "createRuntime",
            At::CreateContainer => "createContainer",
            At::StartContainer => "startContainer",
            At::Poststart => "poststart",
            At::Poststop => "poststop",
        }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Hooks {
    /// Those that run then.
    pub fn at(&self, at: At) -> &[Hook] {
        match at {
            At::Prestart => &self.prestart,
            At::CreateRuntime => &self.create_runtime,
            At::CreateContainer => &self.create_container,
            At::StartContainer => &self.start_container,
            At::Poststart => &self.poststart,
            At::Poststop => &self.poststop,
        }
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, at: At) -> &mut Vec<Hook> {
        match at {
            At::Prestart => &mut self.prestart,
            At::CreateRuntime => &mut self.create_runtime,
            At::CreateContainer => &mut self.create_container,
            At::StartContainer => &mut self.start_container,
            At::Poststart => &mut self.poststart,
            At::Poststop => &mut self.poststop,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        At::ALL.into_iter().all(|at| self.at(at).is_empty())
    }
}
