//! The server: UDP and TCP on one address, for the pods of one network.

mod answer;
mod share;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::message::{MAX_MESSAGE, MAX_QUERY};
use crate::upstream::ResolvFiles;
use crate::zone::Zone;
use share::{Share, Shares};

/// Queries that are answered by others at the same time; what is more gets SERVFAIL.
const MAX_FORWARDS: usize = 256;
/// The most of them for one client.
const FORWARDS_EACH: usize = 64;
/// Queries by UDP at the same time; what is more is lost, as packets may be.
const MAX_QUERIES: usize = 512;
/// Connections at the same time.
const MAX_CONNECTIONS: usize = 64;
/// The most of them of one client; what is more is closed.
const CONNECTIONS_EACH: usize = 8;
/// How long a connection is kept on which nothing is asked.
const IDLE: Duration = Duration::from_secs(10);
/// How long the host's files are taken as they were read.
const FRESH: Duration = Duration::from_secs(2);
/// How often a port is tried that both protocols have free.
const PORTS: usize = 16;

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    base: IpAddr,
    prefix: u8,
}

impl Block {
    /// The block of this length that `base` is in.
    pub fn new(base: IpAddr, prefix: u8) -> Self {
        Self { base, prefix }
    }

    /// Whether an address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |differ: u128, width: u32| {
            let rest = width.saturating_sub(u32::from(self.prefix));
            differ.checked_shr(rest).unwrap_or(0) == 0
        };
        match (self.base, ip.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => same(u128::from(base.to_bits() ^ ip.to_bits()), 32),
            (IpAddr::V6(base), IpAddr::V6(ip)) => same(base.to_bits() ^ ip.to_bits(), 128),
            _ => false,
        }
    }
}

/// What a server is told.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address that it listens on.
    pub address: IpAddr,
    /// The port; 0 for any.
    pub port: u16,
    /// Where else it is reached, by rules that lead to it: a host that names these as its resolvers does not mean others.
    pub known_as: Vec<SocketAddr>,
    /// Who is answered.
    pub clients: Vec<Block>,
    /// Where the host's resolvers are named.
    pub files: ResolvFiles,
}

/// A server at work. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
    _work: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    zone: Mutex<Arc<Zone>>,
    clients: Vec<Block>,
    files: ResolvFiles,
    /// Its own addresses.
    own: Vec<SocketAddr>,
    servers: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    forwards: Semaphore,
    forwards_each: Arc<Shares>,
    queries: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    connections_each: Arc<Shares>,
    /// Counts answers: the addresses of a name take turns.
    turn: AtomicUsize,
}

impl Server {
    /// Listens, with one port for both protocols, and answers from `zone`.
    pub async fn start(config: ServerConfig, zone: Zone) -> io::Result<Self> {
        let (udp, tcp) = bind(config.address, config.port).await?;
        let port = udp.local_addr()?.port();
        let mut own = config.known_as;
        own.push(SocketAddr::new(config.address, port));
        let shared = Arc::new(Shared {
            zone: Mutex::new(Arc::new(zone)),
            clients: config.clients,
            files: config.files,
            own,
            servers: Mutex::new(None),
            forwards: Semaphore::new(MAX_FORWARDS),
            forwards_each: Shares::new(FORWARDS_EACH),
            queries: Arc::new(Semaphore::new(MAX_QUERIES)),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            connections_each: Shares::new(CONNECTIONS_EACH),
            turn: AtomicUsize::new(0),
        });
        let mut work = JoinSet::new();
        work.spawn(by_udp(Arc::clone(&shared), Arc::new(udp)));
        work.spawn(by_tcp(Arc::clone(&shared), tcp));
        Ok(Self { port, shared, _work: work })
    }

    /// The port that it has.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers from another zone from now on.
    pub fn set_zone(&self, zone: Zone) {
        *self.shared.zone.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(zone);
    }
}

impl Shared {
    fn zone(&self) -> Arc<Zone> {
        Arc::clone(&self.zone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_client(&self, ip: IpAddr) -> bool {
        self.clients.iter().any(|block| block.contains(ip))
    }

    /// The host's resolvers.
    fn servers(&self) -> Vec<SocketAddr> {
        let mut known = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((read, servers)) if read.elapsed() < FRESH => servers.clone(),
            _ => {
                let servers = self.files.servers(&self.own);
                *known = Some((Instant::now(), servers.clone()));
                servers
            }
        }
    }

    /// Room to ask others for a client.
    fn forward(&self, client: IpAddr) -> Option<(Share, SemaphorePermit<'_>)> {
        Some((self.forwards_each.take(client)?, self.forwards.try_acquire().ok()?))
    }

    fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

async fn bind(address: IpAddr, port: u16) -> io::Result<(UdpSocket, TcpListener)> {
    let mut failure = None;
    for _ in 0..PORTS {
        let udp = UdpSocket::bind(SocketAddr::new(address, port)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if port == 0 => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

async fn by_udp(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut work = JoinSet::new();
    let mut buffer = vec![0; MAX_QUERY + 1];
    loop {
        while work.try_join_next().is_some() {}
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An answer that could not be delivered is told by the next call.
                tracing::debug!(%error, "receive a query");
                tokio::task::yield_now().await;
                continue;
            }
        };
        // An outsider gets nothing: a forged sender must not be sent anything.
        if !shared.is_client(client.ip()) {
            continue;
        }
        let Ok(slot) = Arc::clone(&shared.queries).try_acquire_owned() else { continue };
        let (shared, socket, query) = (Arc::clone(&shared), Arc::clone(&socket), buffer[..length].to_vec());
        work.spawn(async move {
            let _slot = slot;
            if let Some(answer) = answer::to(&shared, &query, (client.ip(), false)).await
                && let Err(error) = socket.send_to(&answer, client).await
            {
                tracing::debug!(%client, %error, "send an answer");
            }
        });
    }
}

async fn by_tcp(shared: Arc<Shared>, listener: TcpListener) {
    let mut work = JoinSet::new();
    loop {
        while work.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&shared.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) if shared.is_client(client.ip()) => {
                let Some(share) = shared.connections_each.take(client.ip()) else { continue };
                let shared = Arc::clone(&shared);
                work.spawn(async move {
                    let _room = (slot, share);
                    // A client that goes away in the middle is none of our business.
                    connection(&shared, stream, client.ip()).await.ok();
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers the queries of a connection, one after another.
async fn connection(shared: &Shared, mut stream: TcpStream, client: IpAddr) -> io::Result<()> {
    loop {
        let query = timeout(IDLE, async {
            let length = usize::from(stream.read_u16().await?);
            // Its sender means nothing that is answered here.
            if length > MAX_QUERY {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut query = vec![0; length];
            stream.read_exact(&mut query).await?;
            io::Result::Ok(query)
        });
        let query = query.await.map_err(io::Error::other)??;
        let Some(answer) = answer::to(shared, &query, (client, true)).await else { return Ok(()) };
        let length = u16::try_from(answer.len().min(MAX_MESSAGE)).map_err(io::Error::other)?;
        let message = [&length.to_be_bytes(), answer.as_slice()].concat();
        timeout(IDLE, stream.write_all(&message)).await.map_err(io::Error::other)??;
    }
}
