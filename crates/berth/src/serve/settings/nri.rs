//! Where NRI plugins come from.

use std::path::{Path, PathBuf};

use super::{MAX_SOCKET, SettingsError, absolute, invalid};

/// Where NRI plugins come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nri {
    /// None lets none connect.
    pub(crate) socket: Option<PathBuf>,
    /// Whether the socket was asked for: one that cannot be had is an error then.
    pub(crate) is_given: bool,
    pub(crate) plugin_dir: PathBuf,
    pub(crate) config_dir: PathBuf,
}

impl Nri {
    /// With what was given. The machine's own places are those of the daemon without a name of its own: another instance has them in its
    /// directories.
    pub(super) fn of(
        (socket, plugin_dir, config_dir): (Option<String>, Option<PathBuf>, Option<PathBuf>),
        is_machines: bool,
        (root, state): (&Path, &Path),
    ) -> Result<Self, SettingsError> {
        let is_given = socket.is_some();
        let socket = match socket.as_deref() {
            Some("off") => None,
            Some(path) => Some(PathBuf::from(path.strip_prefix("unix://").unwrap_or(path))),
            None if is_machines => Some("/var/run/nri/nri.sock".into()),
            None => Some(state.join("nri.sock")),
        };
        let socket = socket.map(|path| absolute("nri-socket", path)).transpose()?;
        if let Some(path) = socket.as_ref().filter(|path| path.as_os_str().len() > MAX_SOCKET) {
            let reason = format!("a socket path must not be longer than {MAX_SOCKET} bytes");
            return Err(invalid("nri-socket", &path.to_string_lossy(), &reason));
        }
        let dir = |given: Option<PathBuf>, machines: &str, own: &str| {
            given.unwrap_or_else(|| if is_machines { machines.into() } else { root.join(own) })
        };
        Ok(Self {
            socket,
            is_given,
            plugin_dir: absolute("nri-plugin-dir", dir(plugin_dir, "/opt/nri/plugins", "nri/plugins"))?,
            config_dir: absolute("nri-config-dir", dir(config_dir, "/etc/nri/conf.d", "nri/conf.d"))?,
        })
    }
}
