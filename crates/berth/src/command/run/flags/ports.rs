//! `-p` and `--expose`.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Run;

/// The most ports of one flag.
const MAX: usize = 1000;
const NEEDED: &str = "expected [[IP:]PORT:]PORT";

impl Run {
    pub(super) fn ports(&self) -> anyhow::Result<Vec<Value>> {
        let mut chosen = Chosen::default();
        let mut all = Vec::new();
        for text in &self.publish {
            all.extend(publish(text, &mut chosen).with_context(|| format!("--publish {text:?}"))?);
        }
        for text in &self.expose {
            let ports = || {
                let (ports, protocol) = protocol(text)?;
                let port = |port| json!({ "containerPort": port, "protocol": protocol });
                Ok::<_, anyhow::Error>(range(ports)?.map(port).collect::<Vec<_>>())
            };
            all.extend(ports().with_context(|| format!("--expose {text:?}"))?);
        }
        Ok(all)
    }
}

/// Ports that were free a moment ago, held until all of them are chosen.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Chosen {
    fn one(&mut self, ip: Option<IpAddr>, protocol: &str) -> anyhow::Result<u16> {
        let at = (ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), 0);
        let free = "look for a free port";
        let address = match protocol {
            "TCP" => {
                let socket = TcpListener::bind(at).context(free)?;
                let address = socket.local_addr().context(free)?;
                self.tcp.push(socket);
                address
            }
            "UDP" => {
                let socket = UdpSocket::bind(at).context(free)?;
                let address = socket.local_addr().context(free)?;
                self.udp.push(socket);
                address
            }
            _ => bail!("name a port of this machine, as PORT:PORT/sctp: a free one is not looked for"),
        };
        Ok(address.port())
    }
}

/// The ports, and the protocol after the slash.
fn protocol(text: &str) -> anyhow::Result<(&str, String)> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_uppercase();
    if !matches!(protocol.as_str(), "TCP" | "UDP" | "SCTP") {
        bail!("{protocol:?} is not tcp, udp or sctp");
    }
    Ok((ports, protocol))
}

/// `PORT` or `PORT-PORT`.
fn range(text: &str) -> anyhow::Result<RangeInclusive<u16>> {
    let number = |port: &str| {
        port.parse::<u16>().ok().filter(|p| *p != 0).with_context(|| format!("{port:?} is not a port"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = number(first)?..=number(last)?;
    if ports.is_empty() || ports.len() > MAX {
        bail!("{text:?}: expected the lower port first, and at most {MAX} ports");
    }
    Ok(ports)
}

/// `[[IP:]PORT:]PORT[/PROTOCOL]`, with the IP of version 6 in brackets; each port may be a range.
pub(super) fn publish(text: &str, chosen: &mut Chosen) -> anyhow::Result<Vec<Value>> {
    let (ports, protocol) = protocol(text)?;
    let (outside, inside) = match ports.rsplit_once(':') {
        Some((rest, inside)) => (Some(rest), inside),
        None => (None, ports),
    };
    let (ip, outside) = match outside {
        Some(rest) => match rest.rsplit_once(':') {
            Some((ip, outside)) => (Some(ip.trim_start_matches('[').trim_end_matches(']')), Some(outside)),
            // An address alone: a free port of it.
            None if rest.contains('.') => (Some(rest), None),
            None => (None, Some(rest)),
        },
        None => (None, None),
    };
    let ip: Option<IpAddr> =
        ip.map(|ip| ip.parse().with_context(|| format!("{ip:?} is not an address"))).transpose()?;
    let inside = range(inside).context(NEEDED)?;
    let outside = match outside.filter(|outside| !outside.is_empty()) {
        Some(outside) => range(outside)?.collect(),
        None => inside.clone().map(|_| chosen.one(ip, &protocol)).collect::<anyhow::Result<Vec<_>>>()?,
    };
    if outside.len() != inside.len() {
        bail!("{} ports of this machine cannot lead to {} of the container", outside.len(), inside.len());
    }
    let ports = outside.into_iter().zip(inside).map(|(outside, inside)| {
        let mut value = json!({ "containerPort": inside, "hostPort": outside, "protocol": protocol });
        if let Some(ip) = ip {
            value["hostIP"] = json!(ip);
        }
        value
    });
    Ok(ports.collect())
}
