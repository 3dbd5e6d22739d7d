use berth_types::{ContainerId, SandboxId};

use super::*;
use crate::request::{Attach, PortForward, Wanted};

fn attach() -> Request {
    let container = ContainerId::from_random([1; 32]);
    Request::Attach(Attach { container, tty: false, streams: Wanted::default() })
}

fn ports(ports: &[u16]) -> Request {
    Request::PortForward(PortForward { sandbox: SandboxId::from_random([1; 32]), ports: ports.to_vec() })
}

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn spdy(protocols: &[&str]) -> HeaderMap {
    let mut list = vec![("connection", "keep-alive, Upgrade"), ("upgrade", "SPDY/3.1")];
    list.extend(protocols.iter().map(|protocol| ("x-stream-protocol-version", *protocol)));
    headers(&list)
}

fn websocket(protocols: &str) -> HeaderMap {
    let mut list = vec![
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    if !protocols.is_empty() {
        list.push(("sec-websocket-protocol", protocols));
    }
    headers(&list)
}

/// What is agreed on with the name of the protocol that is told, or the status of the refusal.
fn by(request: &Request, method: &Method, asked: &HeaderMap) -> Result<(Protocol, String), u16> {
    let agreed = agree(request, method, asked).map_err(|refused| refused.status.as_u16())?;
    let told = |name| agreed.headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
    let told = told(OFFERED).or_else(|| told(SEC_WEBSOCKET_PROTOCOL)).unwrap_or_default();
    Ok((agreed.protocol, told))
}

/// contract 50
#[test]
fn a_client_gets_the_first_of_its_protocols_that_is_possible() {
    use Coding::{Base64, Binary};
    let (post, get) = (Method::POST, Method::GET);
    let spdy_cases = [
        (vec!["v4.channel.k8s.io", "v3.channel.k8s.io", "channel.k8s.io"], Version::V4, "v4.channel.k8s.io"),
        (vec!["v9.channel.k8s.io, v3.channel.k8s.io"], Version::V3, "v3.channel.k8s.io"),
        (vec!["v2.channel.k8s.io"], Version::V2, "v2.channel.k8s.io"),
        (vec!["channel.k8s.io"], Version::V1, "channel.k8s.io"),
    ];
    for (offered, version, name) in spdy_cases {
        let expected = Ok((Protocol::SpdyCommand(version), name.to_owned()));
        assert_eq!(by(&attach(), &post, &spdy(&offered)), expected);
        assert_eq!(by(&attach(), &get, &spdy(&offered)), expected);
    }
    let websocket_cases = [
        ("v5.channel.k8s.io", Version::V5, Binary),
        ("v4.channel.k8s.io", Version::V4, Binary),
        ("v4.base64.channel.k8s.io", Version::V4, Base64),
        ("v3.channel.k8s.io", Version::V3, Binary),
        ("v2.channel.k8s.io", Version::V2, Binary),
        ("channel.k8s.io", Version::V1, Binary),
        ("base64.channel.k8s.io", Version::V1, Base64),
    ];
    for (offered, version, coding) in websocket_cases {
        let expected = Ok((Protocol::ChannelCommand(version, coding), offered.to_owned()));
        assert_eq!(by(&attach(), &get, &websocket(offered)), expected);
        assert_eq!(by(&attach(), &get, &websocket(&format!("other, {offered}"))), expected);
    }
    let none = Ok((Protocol::ChannelCommand(Version::V1, Binary), String::new()));
    assert_eq!(by(&attach(), &get, &websocket("")), none);
}

/// contract 50
#[test]
fn ports_are_forwarded_by_streams_by_a_tunnel_and_by_channels() {
    let (post, get) = (Method::POST, Method::GET);
    let forward = ports(&[80]);
    assert_eq!(
        by(&forward, &post, &spdy(&["portforward.k8s.io"])),
        Ok((Protocol::SpdyPorts, "portforward.k8s.io".to_owned()))
    );
    assert_eq!(by(&forward, &post, &spdy(&["v4.channel.k8s.io"])), Err(403));
    for (offered, protocol) in [
        (TUNNEL, Protocol::TunnelledPorts),
        ("v4.channel.k8s.io", Protocol::ChannelPorts(Coding::Binary)),
        ("v4.base64.channel.k8s.io", Protocol::ChannelPorts(Coding::Base64)),
        ("", Protocol::ChannelPorts(Coding::Binary)),
    ] {
        assert_eq!(by(&forward, &get, &websocket(offered)), Ok((protocol, offered.to_owned())));
    }
    assert!(by(&ports(&[]), &get, &websocket(TUNNEL)).is_ok());
    assert_eq!(by(&ports(&[]), &get, &websocket("v4.channel.k8s.io")), Err(400));
    assert_eq!(by(&ports(&[1; MAX_CHANNEL_PORTS + 1]), &get, &websocket("v4.channel.k8s.io")), Err(400));
    assert_eq!(by(&attach(), &get, &websocket(TUNNEL)), Err(403));
}

#[test]
fn what_cannot_be_agreed_on_is_refused_with_what_could_be() {
    let (post, get) = (Method::POST, Method::GET);
    assert_eq!(by(&attach(), &Method::PUT, &spdy(&["v4.channel.k8s.io"])), Err(405));
    assert_eq!(by(&attach(), &post, &HeaderMap::new()), Err(400));
    assert_eq!(by(&attach(), &post, &headers(&[("connection", "Upgrade"), ("upgrade", "h2c")])), Err(400));
    assert_eq!(by(&attach(), &post, &spdy(&[])), Err(400));
    assert_eq!(by(&attach(), &post, &spdy(&[" , "])), Err(400));
    let refused = agree(&attach(), &post, &spdy(&["v5.channel.k8s.io"])).unwrap_err();
    assert_eq!(
        (refused.status, refused.headers.iter().filter(|(name, _)| name == POSSIBLE).count()),
        (StatusCode::FORBIDDEN, 4)
    );
    assert_eq!(by(&attach(), &post, &websocket("v5.channel.k8s.io")), Err(405));
    assert_eq!(by(&attach(), &get, &websocket("v6.channel.k8s.io")), Err(403));
    let without = |name| {
        let mut headers = websocket("v5.channel.k8s.io");
        headers.remove(name);
        headers
    };
    assert_eq!(by(&attach(), &get, &without("sec-websocket-version")), Err(426));
    assert_eq!(by(&attach(), &get, &without("sec-websocket-key")), Err(400));
    let mut short = websocket("");
    short.insert("sec-websocket-key", HeaderValue::from_static("AAAA"));
    assert_eq!(by(&attach(), &get, &short), Err(400));
}
