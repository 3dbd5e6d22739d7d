//! The text of a pod's `/etc/resolv.conf` (resolv.conf(5)).

use std::net::IpAddr;

/// DNS settings of a pod, as the CRI has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Domains that are tried for short names.
    pub searches: Vec<String>,
    /// Addresses of name servers.
    pub servers: Vec<String>,
    /// Options such as `ndots:5`.
    pub options: Vec<String>,
}

/// A setting that would break out of its line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("DNS {what} {value:?} is not one word")]
pub struct DnsError {
    /// `search domain`, `server` or `option`.
    pub what: &'static str,
    /// The setting.
    pub value: String,
}

/// The host's file when systemd-resolved is its resolver: the real servers.
pub const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// The host's file.
pub const HOST: &str = "/etc/resolv.conf";

/// The file for these settings: searches, servers, options, in this order. Empty lists give no line.
pub fn file(dns: &Dns) -> Result<String, DnsError> {
    for (what, list) in [("search domain", &dns.searches), ("server", &dns.servers), ("option", &dns.options)]
    {
        if let Some(value) = list.iter().find(|value| !is_word(value)) {
            return Err(DnsError { what, value: value.clone() });
        }
    }
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    Ok(text)
}

fn is_word(value: &str) -> bool {
    !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// The file for a pod that copies the host's and has a network of its own: servers on the host's
/// loopback cannot be reached from there. `host` is the text of [`HOST`]; `resolved` that of
/// [`RESOLVED`], which is taken when the host's own has no other server. Where no server is
/// left, the text keeps its other lines and the second value is `true`: the caller logs it.
pub fn from_host(host: &str, resolved: Option<&str>) -> (String, bool) {
    let (text, servers) = without_loopback(host);
    if servers > 0 {
        return (text, false);
    }
    if let Some((text, servers)) = resolved.map(without_loopback)
        && servers > 0
    {
        return (text, false);
    }
    (text, true)
}

fn without_loopback(text: &str) -> (String, usize) {
    let mut kept = String::with_capacity(text.len());
    let mut servers = 0;
    for line in text.lines() {
        match server_of(line) {
            Some(server) if is_loopback(server) => continue,
            Some(_) => servers += 1,
            None => {}
        }
        kept.push_str(line);
        kept.push('\n');
    }
    (kept, servers)
}

fn server_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next()).flatten()
}

fn is_loopback(server: &str) -> bool {
    let address = server.split_once('%').map_or(server, |(address, _)| address);
    address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The most name servers that a resolver asks, and what the kubelet gives a pod of search domains.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_BYTES: usize = 2048;

/// The file `text` with `more` behind its own settings, as a kubelet adds a pod's `dnsConfig`: what is there already is
/// not added again, an option takes the place of one of its name, and what is above a resolver's limits is left out.
///
/// # Errors
/// A setting is not one word.
pub fn add(text: &str, more: &Dns) -> Result<String, DnsError> {
    let mut dns = parse(text);
    for server in &more.servers {
        push_new(&mut dns.servers, server);
    }
    for search in &more.searches {
        push_new(&mut dns.searches, search);
    }
    let name = |option: &str| option.split(':').next().map(str::to_owned);
    for option in &more.options {
        match dns.options.iter_mut().find(|own| name(own) == name(option)) {
            Some(own) => own.clone_from(option),
            None => dns.options.push(option.clone()),
        }
    }
    dns.servers.truncate(MAX_SERVERS);
    dns.searches.truncate(MAX_SEARCHES);
    while dns.searches.join(" ").len() > MAX_SEARCH_BYTES {
        dns.searches.pop();
    }
    file(&dns)
}

fn push_new(list: &mut Vec<String>, value: &str) {
    if !list.iter().any(|own| own == value) {
        list.push(value.to_owned());
    }
}

/// The settings of a file; of several `search` lines the last counts, as for the resolver.
fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let key = words.next().unwrap_or_default();
        let values = words.take_while(|word| !word.starts_with(['#', ';'])).map(str::to_owned);
        match key {
            "nameserver" => dns.servers.extend(values.take(1)),
            "search" => dns.searches = values.collect(),
            "domain" => dns.searches = values.take(1).collect(),
            "options" => dns.options.extend(values),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests;
