//! The host's resolvers, which know all other names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::message::{MAX_MESSAGE, answers};

/// How long one server is waited for. Clients wait five seconds for all of them.
const LIMIT: Duration = Duration::from_secs(2);
/// The most servers that are asked, as by the C library.
const MAX_SERVERS: usize = 3;
/// The most bytes of the host's file.
const MAX_FILE: u64 = 64 << 10;
const PORT: u16 = 53;

/// Where the host says who its resolvers are.
#[derive(Debug, Clone)]
pub struct ResolvFiles {
    /// The file of all programs.
    pub host: PathBuf,
    /// That of systemd-resolved with the real servers, for a host whose own names only its stub.
    pub resolved: PathBuf,
}

impl Default for ResolvFiles {
    fn default() -> Self {
        Self { host: "/etc/resolv.conf".into(), resolved: "/run/systemd/resolve/resolv.conf".into() }
    }
}

impl ResolvFiles {
    /// The servers as the files have them now, without `own`, where who asks is the server itself. Blocks for a moment: small
    /// local files.
    pub fn servers(&self, own: &[SocketAddr]) -> Vec<SocketAddr> {
        let read = |path: &PathBuf| {
            let small = std::fs::metadata(path).is_ok_and(|found| found.len() <= MAX_FILE);
            small.then(|| std::fs::read_to_string(path).ok()).flatten().unwrap_or_default()
        };
        chosen(&read(&self.host), || read(&self.resolved), own)
    }
}

/// The servers of the host's file, or, where all of them are on the loopback, those of the other. The stub itself is asked
/// where there is nothing else: the daemon can reach it. A server that asked itself would do so until nothing is left.
fn chosen(host: &str, resolved: impl FnOnce() -> String, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let others = |text: &str| {
        let mut servers = listed(text);
        servers.retain(|server| {
            !own.iter().any(|own| (own.ip(), own.port()) == (server.ip().to_canonical(), server.port()))
        });
        servers
    };
    let mut servers = others(host);
    if servers.iter().all(|server| server.ip().to_canonical().is_loopback()) {
        let real = others(&resolved());
        if !real.is_empty() {
            servers = real;
        }
    }
    if servers.is_empty() {
        // As the C library does without a file.
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    servers.truncate(MAX_SERVERS);
    servers
}

fn listed(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    // Those with a zone are of one interface alone.
    servers.filter_map(|server| server.parse().ok()).map(|ip: IpAddr| SocketAddr::new(ip, PORT)).collect()
}

/// Asks the servers one after another, as the C library does: one that cannot say (SERVFAIL), or will not, is the answer only
/// where no other has one. `query` has a number that nobody can guess. Nothing where none answers.
pub async fn ask(servers: &[SocketAddr], query: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let mut unhelpful = None;
    for server in servers {
        let answer = match tcp {
            true => timeout(LIMIT, by_tcp(*server, query)).await,
            false => timeout(LIMIT, by_udp(*server, query)).await,
        };
        match answer {
            Ok(Ok(answer)) if is_unhelpful(&answer) => {
                tracing::debug!(%server, "a name server of the host has no answer");
                unhelpful = Some(answer);
            }
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, %error, "a name server of the host failed"),
            Err(_) => tracing::debug!(%server, "a name server of the host did not answer"),
        }
    }
    unhelpful
}

/// Whether another server may know what this one does not: SERVFAIL, NOTIMP and REFUSED.
fn is_unhelpful(reply: &[u8]) -> bool {
    reply.get(3).is_some_and(|bits| matches!(bits & 15, 2 | 4 | 5))
}

/// From a port of the kernel's choice, which is as hard to guess as the number.
async fn by_udp(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let from: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(from, 0)).await?;
    // The kernel takes packets of this server alone.
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(query, &buffer[..length]) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if answers(query, &answer) {
        Ok(answer)
    } else {
        Err(std::io::Error::other("it answered something else"))
    }
}

#[cfg(test)]
mod tests;
