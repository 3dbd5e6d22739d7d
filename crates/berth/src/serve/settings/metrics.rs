//! Where metrics are served.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{MAX_SOCKET, SettingsError, invalid};

/// Where metrics are served: they tell of every pod, and nobody is asked who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetricsAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

pub(super) fn address(text: &str) -> Result<MetricsAddress, SettingsError> {
    let refuse = |reason: &str| Err(invalid("metrics-address", text, reason));
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return match path.starts_with('/') && path.len() <= MAX_SOCKET {
            true => Ok(MetricsAddress::Unix(path.into())),
            false => refuse(&format!("expected unix: and an absolute path of up to {MAX_SOCKET} bytes")),
        };
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(MetricsAddress::Tcp(address)),
        Ok(_) => refuse("metrics are served on loopback alone, such as 127.0.0.1:9100, or on unix:/PATH"),
        Err(_) => {
            refuse("expected an address of loopback with a port, such as 127.0.0.1:9100, or unix:/PATH")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_sockets_are_addresses() {
        let shown = |text: &str| match address(text) {
            Ok(address) => format!("{address:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown("127.0.0.1:0"), "Tcp(127.0.0.1:0)");
        assert_eq!(shown("[::1]:9100"), "Tcp([::1]:9100)");
        assert_eq!(shown("unix:/run/m.sock"), "Unix(\"/run/m.sock\")");
        assert_eq!(shown("unix:///run/m.sock"), "Unix(\"/run/m.sock\")");
        for wrong in [
            "0.0.0.0:9100",
            "127.0.0.1",
            "localhost:1",
            "unix:m.sock",
            "",
            &format!("unix:/{}", "x".repeat(99)),
        ] {
            assert!(shown(wrong).starts_with("--metrics-address"), "{wrong}: {}", shown(wrong));
        }
    }
}
