//! What a client asks for with its HTTP request, and the answer. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::portforward::MAX_CHANNEL_PORTS;
use crate::remotecommand::Version;
use crate::request::Request;
use crate::websocket::{self, Coding};

/// The protocol that SPDY is asked for by.
const SPDY: &str = "SPDY/3.1";
/// SPDY's streams of port forwarding.
const PORT_FORWARD: &str = "portforward.k8s.io";
/// The same, in WebSocket messages.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The protocols that a client of SPDY offers, and the one that is chosen.
const OFFERED: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Those that could have been.
const POSSIBLE: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// What the connection becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The streams of a process on SPDY.
    SpdyCommand(Version),
    /// The streams of a process on WebSocket's channels.
    ChannelCommand(Version, Coding),
    /// Ports on SPDY.
    SpdyPorts,
    /// Ports on SPDY, in WebSocket messages.
    TunnelledPorts,
    /// Ports on WebSocket's channels, two for each.
    ChannelPorts(Coding),
}

/// The answer to a client that gets what it asked for.
#[derive(Debug, PartialEq)]
pub(crate) struct Agreed {
    pub(crate) protocol: Protocol,
    /// Of the answer with status 101.
    pub(crate) headers: HeaderMap,
}

/// The answer to one that does not.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) text: String,
}

/// Decides on a request for an upgrade.
pub(crate) fn agree(request: &Request, method: &Method, asked: &HeaderMap) -> Result<Agreed, Refused> {
    if method != Method::GET && method != Method::POST {
        return Err(refused(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST are answered"));
    }
    let upgrade = words(asked, &UPGRADE);
    if !words(asked, &CONNECTION).iter().any(|word| word.eq_ignore_ascii_case("upgrade")) {
        return Err(refused(StatusCode::BAD_REQUEST, "the request does not ask for an upgrade"));
    }
    if upgrade.iter().any(|word| word.eq_ignore_ascii_case("websocket")) {
        return by_websocket(request, method, asked);
    }
    if upgrade.iter().any(|word| word.eq_ignore_ascii_case(SPDY)) {
        return by_spdy(request, asked);
    }
    Err(refused(StatusCode::BAD_REQUEST, "only upgrades to SPDY/3.1 and websocket are possible"))
}

fn by_spdy(request: &Request, asked: &HeaderMap) -> Result<Agreed, Refused> {
    let possible: &[(&str, Protocol)] = match request {
        Request::Exec(_) | Request::Attach(_) => &[
            ("v4.channel.k8s.io", Protocol::SpdyCommand(Version::V4)),
            ("v3.channel.k8s.io", Protocol::SpdyCommand(Version::V3)),
            ("v2.channel.k8s.io", Protocol::SpdyCommand(Version::V2)),
            ("channel.k8s.io", Protocol::SpdyCommand(Version::V1)),
        ],
        Request::PortForward(_) => &[(PORT_FORWARD, Protocol::SpdyPorts)],
    };
    let offered = words(asked, &OFFERED);
    if offered.is_empty() {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "the header X-Stream-Protocol-Version names no protocol",
        ));
    }
    let Some((name, protocol)) = choose(&offered, possible) else {
        let mut refused = refused(StatusCode::FORBIDDEN, "none of the protocols offered is possible");
        refused.headers =
            possible.iter().map(|(name, _)| (POSSIBLE, HeaderValue::from_static(name))).collect();
        return Err(refused);
    };
    let mut headers = upgrade_to(SPDY);
    headers.insert(OFFERED, HeaderValue::from_static(name));
    Ok(Agreed { protocol, headers })
}

fn by_websocket(request: &Request, method: &Method, asked: &HeaderMap) -> Result<Agreed, Refused> {
    use Coding::{Base64, Binary};
    use Protocol::{ChannelCommand, ChannelPorts, TunnelledPorts};
    let (possible, otherwise): (&[(&str, Protocol)], _) = match request {
        Request::Exec(_) | Request::Attach(_) => (
            &[
                ("v5.channel.k8s.io", ChannelCommand(Version::V5, Binary)),
                ("v4.channel.k8s.io", ChannelCommand(Version::V4, Binary)),
                ("v4.base64.channel.k8s.io", ChannelCommand(Version::V4, Base64)),
                ("v3.channel.k8s.io", ChannelCommand(Version::V3, Binary)),
                ("v2.channel.k8s.io", ChannelCommand(Version::V2, Binary)),
                ("channel.k8s.io", ChannelCommand(Version::V1, Binary)),
                ("base64.channel.k8s.io", ChannelCommand(Version::V1, Base64)),
            ],
            ChannelCommand(Version::V1, Binary),
        ),
        Request::PortForward(_) => (
            &[
                (TUNNEL, TunnelledPorts),
                ("v4.channel.k8s.io", ChannelPorts(Binary)),
                ("v4.base64.channel.k8s.io", ChannelPorts(Base64)),
            ],
            ChannelPorts(Binary),
        ),
    };
    if method != Method::GET {
        return Err(refused(StatusCode::METHOD_NOT_ALLOWED, "an upgrade to websocket needs GET"));
    }
    if asked.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut refused = refused(StatusCode::UPGRADE_REQUIRED, "only version 13 of websocket is possible");
        refused.headers = vec![(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))];
        return Err(refused);
    }
    let key = asked.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let Some(key) = key.filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)) else {
        return Err(refused(StatusCode::BAD_REQUEST, "the header Sec-WebSocket-Key is not one"));
    };
    let offered = words(asked, &SEC_WEBSOCKET_PROTOCOL);
    let mut headers = upgrade_to("websocket");
    let answer = websocket::accept(key);
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(answer).expect("base64 is visible"));
    let protocol = match choose(&offered, possible) {
        Some((name, protocol)) => {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
            protocol
        }
        None if offered.is_empty() => otherwise,
        None => return Err(refused(StatusCode::FORBIDDEN, "none of the protocols offered is possible")),
    };
    if let (ChannelPorts(_), Request::PortForward(forward)) = (protocol, request)
        && !(1..=MAX_CHANNEL_PORTS).contains(&forward.ports.len())
    {
        let text = format!("channels are for the ports of the URL, which has {}", forward.ports.len());
        return Err(refused(StatusCode::BAD_REQUEST, &text));
    }
    Ok(Agreed { protocol, headers })
}

/// The first of the client's that is possible.
fn choose(offered: &[&str], possible: &[(&'static str, Protocol)]) -> Option<(&'static str, Protocol)> {
    offered.iter().find_map(|word| possible.iter().find(|(name, _)| name == word)).copied()
}

/// The words of a header, which may be there several times.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty()).collect()
}

fn upgrade_to(protocol: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(protocol));
    headers
}

fn refused(status: StatusCode, text: &str) -> Refused {
    Refused { status, headers: Vec::new(), text: text.to_owned() }
}

#[cfg(test)]
mod tests;
