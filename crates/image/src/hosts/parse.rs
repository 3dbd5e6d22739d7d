//! Reading one `hosts.toml`.

use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use toml::{Table, Value};

use super::{
    Capabilities, ClientPem, Host, HostsError, Role, Scheme, TlsSettings, Verify, is_loopback, read_existing,
};
use crate::credentials::same_server;

/// The most hosts one registry may have.
const MAX_HOSTS: usize = 32;

/// One table of the file.
struct Section<'a> {
    file: &'a Path,
    /// How the table is called in messages; empty for the file's root.
    name: String,
    table: &'a Table,
}

pub(super) fn parse(file: &Path, text: &str, registry: &str) -> Result<Vec<Host>, HostsError> {
    let table: Table = text
        .parse()
        .map_err(|source| HostsError::Toml { path: file.to_owned(), source: Box::new(source) })?;
    let root = Section { file, name: String::new(), table: &table };
    let mut hosts = Vec::new();
    if let Some(value) = table.get("host") {
        let mirrors = value.as_table().ok_or_else(|| root.error("host", "expected a table for each host"))?;
        for (url, value) in mirrors {
            let name = format!("host.{url:?}");
            let table = value.as_table().ok_or_else(|| root.error(&name, "expected a table"))?;
            hosts.push(Section { file, name, table }.host(Some(url), registry)?);
        }
    }
    let server = root.string("server")?;
    let last = root.host(server.filter(|server| !server.is_empty()), registry)?;
    if !hosts.iter().any(|host| stands_for(host, &last)) {
        hosts.push(last);
    }
    if hosts.len() > MAX_HOSTS {
        return Err(root.error("host", &format!("{} hosts, {MAX_HOSTS} are allowed", hosts.len())));
    }
    Ok(hosts)
}

/// Whether a host of the file's tables is its server too: the same place, with all that is known of it. Asked once more
/// without its certificates it would only answer that they are missing.
fn stands_for(host: &Host, server: &Host) -> bool {
    let may = |can: bool, wanted: bool| can || !wanted;
    host.scheme == server.scheme
        && host.path == server.path
        && same_server(&host.authority, &server.authority)
        && may(host.capabilities.pull, server.capabilities.pull)
        && may(host.capabilities.resolve, server.capabilities.resolve)
        && server.tls.authorities.is_empty()
        && server.tls.clients.is_empty()
        && (server.tls.verify == Verify::Yes || host.tls.verify == Verify::Skip)
        && server.headers.is_empty()
        && server.dial_timeout.is_none()
}

impl Section<'_> {
    /// The host this table describes; without a URL it is the registry itself.
    fn host(&self, url: Option<&str>, registry: &str) -> Result<Host, HostsError> {
        self.warn_of_unknown();
        let mut host = match url {
            Some(url) => self.located(url, registry)?,
            None => Host::of(registry),
        };
        host.capabilities = self.capabilities()?;
        host.headers = self.headers()?;
        host.dial_timeout = self.dial_timeout()?;
        let tls = TlsSettings {
            authorities: self.authorities()?,
            clients: self.clients()?,
            verify: match self.boolean("skip_verify")? {
                Some(true) => Verify::Skip,
                Some(false) => Verify::Yes,
                None => host.tls.verify,
            },
        };
        // Certificates imply TLS; a fall-back to plain HTTP would undo that.
        if !tls.authorities.is_empty() || !tls.clients.is_empty() {
            if host.scheme == Scheme::HttpsOrHttp {
                host.scheme = Scheme::Https;
            }
            let skip = self.boolean("skip_verify")?.unwrap_or(false);
            host.tls = TlsSettings { verify: if skip { Verify::Skip } else { Verify::Yes }, ..tls };
        } else {
            host.tls = tls;
        }
        Ok(host)
    }

    /// A host from its URL; the path gets `/v2` unless `override_path` says that it is complete.
    fn located(&self, url: &str, registry: &str) -> Result<Host, HostsError> {
        let key = if self.name.is_empty() { "server" } else { "" };
        let bad = || self.error(key, "expected a URL such as https://registry.example");
        let (scheme, rest) = match url.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(_) => return Err(bad()),
            None => (None, url),
        };
        let uri: Uri = format!("https://{rest}").parse().map_err(|_| bad())?;
        let authority = uri.authority().map(|a| a.as_str()).unwrap_or_default();
        if authority.is_empty() || authority.contains('@') || uri.query().is_some() {
            return Err(bad());
        }
        let path = uri.path().trim_end_matches('/');
        let complete = self.boolean("override_path")?.unwrap_or(false) || path.ends_with("/v2");
        let itself =
            same_server(authority, &Host::of(registry).authority) || same_server(authority, registry);
        let loopback = is_loopback(authority);
        let scheme = scheme.unwrap_or(if loopback { Scheme::HttpsOrHttp } else { Scheme::Https });
        Ok(Host {
            scheme,
            path: if complete { path.to_owned() } else { format!("{path}/v2") },
            // The file defines the root table's server as the registry, whatever its name.
            role: if itself || self.name.is_empty() { Role::Registry } else { Role::Mirror },
            tls: TlsSettings {
                verify: if scheme == Scheme::HttpsOrHttp { Verify::Skip } else { Verify::Yes },
                ..TlsSettings::default()
            },
            ..Host::of(authority)
        })
    }

    fn capabilities(&self) -> Result<Capabilities, HostsError> {
        let names = self.strings("capabilities")?;
        if names.is_empty() {
            return Ok(Capabilities { pull: true, resolve: true });
        }
        let mut capabilities = Capabilities { pull: false, resolve: false };
        for name in names {
            match name {
                "pull" => capabilities.pull = true,
                "resolve" => capabilities.resolve = true,
                "push" => {}
                "referrers" => {}
                other => {
                    let problem = format!("{other:?} is not one of pull, resolve, push");
                    return Err(self.error("capabilities", &problem));
                }
            }
        }
        Ok(capabilities)
    }

    fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, HostsError> {
        let Some(value) = self.table.get("header") else { return Ok(Vec::new()) };
        let table = value.as_table().ok_or_else(|| self.error("header", "expected a table"))?;
        let section = Section { file: self.file, name: self.key("header"), table };
        let mut headers = Vec::new();
        for name in table.keys() {
            let header: HeaderName =
                name.parse().map_err(|_| section.error(name, "this is not the name of a header"))?;
            for value in section.strings(name)? {
                let mut value = HeaderValue::from_str(value)
                    .map_err(|_| section.error(name, "the value holds control characters"))?;
                value.set_sensitive(true);
                headers.push((header.clone(), value));
            }
        }
        Ok(headers)
    }

    fn authorities(&self) -> Result<Vec<super::Pem>, HostsError> {
        self.strings("ca")?.into_iter().map(|path| read_existing(&self.beside(path))).collect()
    }

    /// `client`: a file with both; or a list whose items are such a file or a pair of files.
    fn clients(&self) -> Result<Vec<ClientPem>, HostsError> {
        let shape = || self.error("client", "expected a file, or a list of files or of [certificate, key]");
        let pair = |certificate: &str, key: &str| {
            let (certificate, key) = (read_existing(&self.beside(certificate))?, self.beside(key));
            Ok(ClientPem { certificate, key: read_existing(&key)? })
        };
        let items: &[Value] = match self.table.get("client") {
            None => return Ok(Vec::new()),
            Some(Value::String(file)) => return Ok(vec![pair(file, file)?]),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(shape()),
        };
        let client = |item: &Value| match item {
            Value::String(file) => pair(file, file),
            Value::Array(files) => match files.as_slice() {
                [Value::String(certificate)] => pair(certificate, certificate),
                [Value::String(certificate), Value::String(key)] if key.is_empty() => {
                    pair(certificate, certificate)
                }
                [Value::String(certificate), Value::String(key)] => pair(certificate, key),
                _ => Err(shape()),
            },
            _ => Err(shape()),
        };
        items.iter().map(client).collect()
    }

    fn dial_timeout(&self) -> Result<Option<Duration>, HostsError> {
        let Some(text) = self.string("dial_timeout")? else { return Ok(None) };
        let problem = "expected a duration such as 3s, 500ms or 1m30s";
        berth_types::duration::parse(text).map(Some).ok_or_else(|| self.error("dial_timeout", problem))
    }

    /// Files are named beside `hosts.toml`.
    fn beside(&self, path: &str) -> std::path::PathBuf {
        self.file.parent().unwrap_or(Path::new("/")).join(path)
    }

    fn string(&self, key: &str) -> Result<Option<&str>, HostsError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(key, "expected a string")),
        }
    }

    fn boolean(&self, key: &str) -> Result<Option<bool>, HostsError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::Boolean(value)) => Ok(Some(*value)),
            Some(_) => Err(self.error(key, "expected true or false")),
        }
    }

    /// A string or a list of strings.
    fn strings(&self, key: &str) -> Result<Vec<&str>, HostsError> {
        let shape = || self.error(key, "expected a string or a list of strings");
        match self.table.get(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().ok_or_else(shape)).collect(),
            Some(_) => Err(shape()),
        }
    }

    fn warn_of_unknown(&self) {
        const KNOWN: [&str; 8] = [
            "capabilities",
            "ca",
            "client",
            "skip_verify",
            "header",
            "override_path",
            "dial_timeout",
            "server",
        ];
        let root = self.name.is_empty();
        for key in self.table.keys() {
            let known = if key == "host" || key == "server" { root } else { KNOWN.contains(&key.as_str()) };
            if !known {
                tracing::warn!(file = %self.file.display(), key = self.key(key), "unknown key in hosts.toml");
            }
        }
    }

    fn key(&self, key: &str) -> String {
        match (self.name.as_str(), key) {
            ("", key) => key.to_owned(),
            (name, "") => name.to_owned(),
            (name, key) => format!("{name}.{key}"),
        }
    }

    fn error(&self, key: &str, problem: &str) -> HostsError {
        HostsError::Value { path: self.file.to_owned(), key: self.key(key), problem: problem.to_owned() }
    }
}
