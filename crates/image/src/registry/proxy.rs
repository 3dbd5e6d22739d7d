//! Which proxy a request goes through: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, as the Go programs
//! that operators know read them.

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::hosts::is_loopback;

/// The proxies of this process's environment.
pub(super) fn from_environment() -> Matcher {
    // An empty variable is none.
    let var = |names: [&str; 2]| {
        let set = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        names.into_iter().find_map(set).unwrap_or_default()
    };
    Matcher::builder()
        .http(var(["HTTP_PROXY", "http_proxy"]))
        .https(var(["HTTPS_PROXY", "https_proxy"]))
        .all(var(["ALL_PROXY", "all_proxy"]))
        .no(exceptions(&var(["NO_PROXY", "no_proxy"])))
        .build()
}

/// The proxy for a URL, if it goes through one. Loopback never does.
pub(super) fn of(proxies: Option<&Matcher>, uri: &Uri) -> Option<Intercept> {
    let loopback = uri.authority().is_some_and(|a| is_loopback(a.as_str()));
    proxies.filter(|_| !loopback)?.intercept(uri)
}

/// `NO_PROXY` without what the matcher does not support: `*.example.org` is `.example.org`, and the port of
/// `host:port` is left out.
fn exceptions(list: &str) -> String {
    let entry = |entry: &str| {
        let entry = entry.trim();
        let entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
        let bare = match entry.rsplit_once(':') {
            // More than one colon: an IPv6 address, unless it stands in brackets.
            Some((host, port))
                if port.parse::<u16>().is_ok() && !host.trim_end_matches(']').contains(':') =>
            {
                host
            }
            Some((host, port)) if port.parse::<u16>().is_ok() && host.ends_with(']') => host,
            _ => entry,
        };
        bare.trim_start_matches('[').trim_end_matches(']').to_owned()
    };
    list.split(',').map(entry).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_read_as_operators_write_them() {
        let list =
            "localhost, .svc,*.example.org , registry.local:5000,10.0.0.0/8,::1,[fd00::1]:5000,fd00::/8,*";
        let expected = "localhost,.svc,.example.org,registry.local,10.0.0.0/8,::1,fd00::1,fd00::/8,*";
        assert_eq!(exceptions(list), expected);
    }

    #[test]
    fn an_exception_goes_past_the_proxy() {
        let list = exceptions("*.example.org,registry.local:5000,[fd00::1]:5000,10.0.0.0/8");
        let matcher = Matcher::builder().all("http://proxy:3128").no(list).build();
        for (url, through) in [
            ("https://a.example.org/v2/", false),
            ("https://registry.local:5000/v2/", false),
            ("https://[fd00::1]:5000/v2/", false),
            ("http://10.1.2.3:5000/v2/", false),
            ("https://127.0.0.1:5000/v2/", false),
            ("https://registry.example/v2/", true),
        ] {
            assert_eq!(of(Some(&matcher), &url.parse().unwrap()).is_some(), through, "{url}");
        }
    }
}
