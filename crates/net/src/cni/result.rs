//! What a plugin gave a pod: results of every version, and from one version to another.
//!
//! Specification: CNI 1.1, section 5. Fields that Berth does not know are kept as long as the layout stays the same.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::version::{Layout, Version};
use crate::resolv::Dns;

/// What is wrong with a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResultError {
    #[error("{0}")]
    Json(String),
    #[error("it is not an object")]
    NotAnObject,
    #[error("its version {0} is not one that Berth speaks")]
    Version(String),
    #[error("{key} is not {expected}")]
    Type { key: &'static str, expected: &'static str },
    #[error("{key} {value:?} is not an address")]
    Address { key: &'static str, value: String },
}

/// A result with the version it is laid out by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AddResult(Map<String, Value>);

/// What of a result matters to Berth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    /// The pod's interface, unless the result does not say.
    pub(super) interface: Option<String>,
    /// The pod's addresses in the order of the result.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) dns: Option<Dns>,
}

impl AddResult {
    /// What a plugin printed that was called with `version`, laid out by that version.
    pub(super) fn parse(bytes: &[u8], version: Version) -> Result<Self, ResultError> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => Self::of(object, version),
            Ok(_) => Err(ResultError::NotAnObject),
            Err(error) => Err(ResultError::Json(error.to_string())),
        }
    }

    /// A recorded result.
    pub(super) fn of(mut object: Map<String, Value>, version: Version) -> Result<Self, ResultError> {
        let from = match object.get("cniVersion") {
            None | Some(Value::Null) => version,
            Some(Value::String(text)) if text.is_empty() => version,
            Some(Value::String(text)) => {
                Version::known(text).ok_or_else(|| ResultError::Version(text.clone()))?
            }
            Some(_) => return Err(ResultError::Type { key: "cniVersion", expected: "a string" }),
        };
        if from.layout() != version.layout() {
            object = convert(object, from.layout(), version.layout())?;
        }
        object.insert("cniVersion".to_owned(), version.text().into());
        let result = Self(object);
        // What cannot be read is refused while the plugin can still be named.
        result.got()?;
        Ok(result)
    }

    pub(super) fn object(&self) -> Map<String, Value> {
        self.0.clone()
    }

    /// The addresses of interfaces in the pod: those with a sandbox. Where a result knows no such interface, all of its
    /// addresses are the pod's.
    pub(super) fn got(&self) -> Result<Got, ResultError> {
        let plain = match self.layout() {
            Layout::Families => convert(self.0.clone(), Layout::Families, Layout::Plain)?,
            Layout::Marked | Layout::Plain => self.0.clone(),
        };
        let interfaces = list(&plain, "interfaces")?;
        let in_pod = |index: usize| {
            interfaces.get(index).is_some_and(|interface| !text(interface, "sandbox").is_empty())
        };
        let mut all = Vec::new();
        for ip in list(&plain, "ips")? {
            let interface = ip.get("interface").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
            all.push((address(ip, "address")?, interface));
        }
        let of_pod = |(_, interface): &&(IpAddr, Option<usize>)| interface.is_some_and(in_pod);
        let inside: Vec<_> = all.iter().filter(of_pod).collect();
        let chosen = if inside.is_empty() { all.iter().collect() } else { inside };
        let mut addresses: Vec<IpAddr> = Vec::new();
        for (address, _) in &chosen {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        let first = chosen.iter().find_map(|(_, interface)| interface.filter(|index| in_pod(*index)));
        let first = first.or_else(|| (0..interfaces.len()).find(|index| in_pod(*index)));
        let interface = first.and_then(|index| interfaces.get(index)).map(|of| text(of, "name").to_owned());
        Ok(Got { interface: interface.filter(|name| !name.is_empty()), addresses, dns: dns(&plain) })
    }

    fn layout(&self) -> Layout {
        let version = self.0.get("cniVersion").and_then(Value::as_str).and_then(Version::known);
        version.unwrap_or(Version::NEWEST).layout()
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(object: &'a Map<String, Value>, key: &'static str) -> Result<&'a [Value], ResultError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) if list.iter().all(Value::is_object) => Ok(list),
        Some(_) => Err(ResultError::Type { key, expected: "a list of objects" }),
    }
}

/// The address of `address/prefix`.
fn address(object: &Value, key: &'static str) -> Result<IpAddr, ResultError> {
    let value = text(object, key);
    let bare = value.split('/').next().unwrap_or(value);
    bare.parse().map_err(|_| ResultError::Address { key, value: value.to_owned() })
}

fn dns(object: &Map<String, Value>) -> Option<Dns> {
    let dns = object.get("dns")?;
    let words = |key: &str| {
        let words = dns.get(key).and_then(Value::as_array).into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut searches = words("search");
    if searches.is_empty() {
        searches.extend(Some(text(dns, "domain").to_owned()).filter(|domain| !domain.is_empty()));
    }
    let dns = Dns { searches, servers: words("nameservers"), options: words("options") };
    (dns != Dns::default()).then_some(dns)
}

type Object = Map<String, Value>;

/// The same result in another layout. What the other has no place for is left out.
fn convert(object: Object, from: Layout, to: Layout) -> Result<Object, ResultError> {
    match (from, to) {
        (Layout::Families, Layout::Families)
        | (Layout::Marked, Layout::Marked)
        | (Layout::Plain, Layout::Plain) => Ok(object),
        (Layout::Families, Layout::Marked) => marked(unfold(&object)?),
        (Layout::Families, Layout::Plain) => unfold(&object),
        (Layout::Marked, Layout::Plain) => Ok(unmarked(object)),
        (Layout::Plain, Layout::Marked) => marked(object),
        (Layout::Marked | Layout::Plain, Layout::Families) => fold(&object),
    }
}

/// Takes the family out of each address.
fn unmarked(mut object: Object) -> Object {
    for ip in object.get_mut("ips").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(ip) = ip.as_object_mut() {
            ip.remove("version");
        }
    }
    object
}

/// Puts the family beside each address.
fn marked(mut object: Object) -> Result<Object, ResultError> {
    for ip in object.get_mut("ips").and_then(Value::as_array_mut).into_iter().flatten() {
        let family = if address(ip, "address")?.is_ipv4() { "4" } else { "6" };
        if let Some(ip) = ip.as_object_mut() {
            ip.insert("version".to_owned(), family.into());
        }
    }
    Ok(object)
}

/// From `ip4` and `ip6` to lists.
fn unfold(object: &Object) -> Result<Object, ResultError> {
    let (mut ips, mut routes) = (Vec::new(), Vec::new());
    for key in ["ip4", "ip6"] {
        let Some(of) = object.get(key).filter(|of| !of.is_null()) else { continue };
        address(of, "ip")?;
        let gateway = text(of, "gateway");
        let mut ip = json!({ "address": text(of, "ip") });
        if !gateway.is_empty() {
            ip["gateway"] = gateway.into();
        }
        ips.push(ip);
        for route in of.get("routes").and_then(Value::as_array).into_iter().flatten() {
            let mut route = route.clone();
            if text(&route, "gw").is_empty() && !gateway.is_empty() {
                route["gw"] = gateway.into();
            }
            routes.push(route);
        }
    }
    let mut lists = Map::new();
    lists.insert("ips".to_owned(), ips.into());
    lists.insert("routes".to_owned(), routes.into());
    lists.extend(object.get("dns").map(|dns| ("dns".to_owned(), dns.clone())));
    Ok(lists)
}

/// From lists to the first address of each family.
fn fold(object: &Object) -> Result<Object, ResultError> {
    let mut families = Map::new();
    for (key, v4) in [("ip4", true), ("ip6", false)] {
        let mut first = None;
        for ip in list(object, "ips")? {
            if address(ip, "address")?.is_ipv4() == v4 {
                first.get_or_insert(ip);
            }
        }
        let Some(ip) = first else { continue };
        let mut of = json!({ "ip": text(ip, "address") });
        if !text(ip, "gateway").is_empty() {
            of["gateway"] = text(ip, "gateway").into();
        }
        let mut routes = Vec::new();
        for route in list(object, "routes")? {
            if address(route, "dst")?.is_ipv4() == v4 {
                routes.push(route.clone());
            }
        }
        if !routes.is_empty() {
            of["routes"] = routes.into();
        }
        families.insert(key.to_owned(), of);
    }
    families.extend(object.get("dns").map(|dns| ("dns".to_owned(), dns.clone())));
    Ok(families)
}

#[cfg(test)]
mod tests;
