//! Where a request goes.

use std::fmt::Write as _;

use http::Uri;

/// What may stand in a path and a query as it is; `%` is not encoded again.
const PLAIN: &[u8] = b"-._~!$&'()*+,;=:@/?%[]|";

/// A URL of http or https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) tls: bool,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) target: String,
}

/// Where a redirect leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum To {
    /// To the same server.
    Here(Url),
    /// To the server that it names.
    Absolute(Url),
    /// It is none of http.
    Nowhere,
}

impl Url {
    /// `path` is a path, with a query or not.
    pub(super) fn new(tls: bool, host: String, port: u16, path: &str) -> Self {
        Self { tls, host, port, target: target(path) }
    }

    /// What the header `Host` says.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Where `location` leads from here (RFC 3986, section 5).
    pub(super) fn to(&self, location: &str) -> To {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = location.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| {
            let ok = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(ok)
        });
        if scheme.is_some() {
            return absolute(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return absolute(&format!("{}://{rest}", if self.tls { "https" } else { "http" }));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.chars().next() {
            None => self.target.clone(),
            Some('/') => target(location),
            Some('?') => target(&format!("{path}{location}")),
            Some(_) => {
                let above = path.rfind('/').map_or("/", |at| &path[..=at]);
                target(&format!("{above}{location}"))
            }
        };
        To::Here(Self { target, ..self.clone() })
    }
}

fn absolute(location: &str) -> To {
    let (_, rest) = location.split_once("://").unwrap_or_default();
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (scheme, authority) = (location.split(':').next().unwrap_or_default(), &rest[..at]);
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return To::Nowhere,
    };
    let Ok(uri) = format!("http://{authority}/").parse::<Uri>() else { return To::Nowhere };
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else { return To::Nowhere };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    To::Absolute(Url::new(tls, host, port, &rest[at..]))
}

/// A path and a query as they stand in a request.
fn target(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut out = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        out.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Into a string it cannot fail.
            write!(out, "%{byte:02X}").ok();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(target: &str) -> Url {
        Url { tls: false, host: "10.0.0.2".into(), port: 8080, target: target.into() }
    }

    #[test]
    fn a_path_becomes_what_a_request_has() {
        for (path, expected) in [
            ("/", "/"),
            ("healthz", "/healthz"),
            ("/a?b=c&d", "/a?b=c&d"),
            ("/a b", "/a%20b"),
            ("/a%20b", "/a%20b"),
            ("/a#b", "/a"),
            ("?a", "/?a"),
            ("/ä", "/%C3%A4"),
            ("/a\r\nX: y", "/a%0D%0AX:%20y"),
        ] {
            assert_eq!(target(path), expected, "{path:?}");
            assert!(target(path).parse::<Uri>().is_ok(), "{path:?}");
        }
    }

    #[test]
    fn a_host_has_brackets_where_it_needs_them() {
        assert_eq!(at("/").authority(), "10.0.0.2:8080");
        let six = Url { host: "fd00::2".into(), ..at("/") };
        assert_eq!(six.authority(), "[fd00::2]:8080");
    }

    #[test]
    fn redirects_lead_where_the_standard_says() {
        for (from, location, expected) in [
            ("/a/b?c", "/d", "/d"),
            ("/a/b?c", "d", "/a/d"),
            ("/a/b?c", "?d", "/a/b?d"),
            ("/a/b?c", "", "/a/b?c"),
            ("/a", "b#c", "/b"),
            ("/", "a:b/c", ""),
        ] {
            let expected = if expected.is_empty() { To::Nowhere } else { To::Here(at(expected)) };
            assert_eq!(at(from).to(location), expected, "{from} {location}");
        }
        for (location, tls, host, port, target) in [
            ("http://10.0.0.2/x", false, "10.0.0.2", 80, "/x"),
            ("HTTPS://a.example", true, "a.example", 443, "/"),
            ("https://a.example:8443?y", true, "a.example", 8443, "/?y"),
            ("//b.example:1/z", false, "b.example", 1, "/z"),
            ("http://[fd00::1]:2/", false, "fd00::1", 2, "/"),
        ] {
            let expected = Url { tls, host: host.into(), port, target: target.into() };
            assert_eq!(at("/").to(location), To::Absolute(expected), "{location}");
        }
        for location in ["ftp://10.0.0.2/", "http://", "http:///x", "http://a b/"] {
            assert_eq!(at("/").to(location), To::Nowhere, "{location}");
        }
    }
}
