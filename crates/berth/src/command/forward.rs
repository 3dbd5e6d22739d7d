//! `berth port-forward`: ports of this machine that lead into a pod for as long as this runs.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::api::{self, forward_input::Input};
use crate::client::{Client, Reach, told};
use crate::output::{complain, line};

/// Connections at a time.
const MOST: usize = 256;
/// Bytes read at a time.
const CHUNK: usize = 32 << 10;

/// `berth port-forward`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  berth port-forward web 8080:80    http://localhost:8080 is port 80 of pod web
  berth port-forward web :80        the same at a port that is free")]
pub(crate) struct PortForward {
    /// Address of this machine to listen on; repeatable
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: Vec<IpAddr>,
    /// A pod, by name or id
    pod: String,
    /// PORT of this machine and of the pod, or LOCAL:PORT; :PORT looks for a free one
    #[arg(required = true, value_name = "[LOCAL:]PORT")]
    ports: Vec<String>,
}

/// `PORT`, `LOCAL:PORT` or `:PORT`.
fn ports(text: &str) -> anyhow::Result<(u16, u16)> {
    let (local, inside) = text.split_once(':').unwrap_or((text, text));
    let number = |port: &str| {
        port.parse::<u16>()
            .ok()
            .filter(|p| *p != 0)
            .with_context(|| format!("{text:?}: {port:?} is not a port"))
    };
    Ok((if local.is_empty() { 0 } else { number(local)? }, number(inside)?))
}

impl PortForward {
    /// Listens, until Ctrl-C or the end of the daemon.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let pairs = self.ports.iter().map(|text| ports(text)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut client = reach.client().await?;
        // A mistyped name is told now, and not to the first that connects.
        let json = client
            .inspect(api::InspectRequest { target: self.pod.clone(), object: false })
            .await
            .map_err(told)?;
        let found: serde_json::Value = serde_json::from_str(&json.into_inner().json)?;
        let id = match found["kind"].as_str() {
            Some("Pod") => found["id"].as_str(),
            Some("Container") => found["pod"].as_str(),
            _ => None,
        };
        let Some(id) = id else { bail!("{} is not a pod", self.pod) };
        let turns = Arc::new(Semaphore::new(MOST));
        let mut tasks = tokio::task::JoinSet::new();
        for (local, inside) in pairs {
            for address in &self.address {
                let at = SocketAddr::new(*address, local);
                let listener = TcpListener::bind(at).await.with_context(|| format!("listen on {at}"))?;
                line(format_args!("Forwarding from {} -> {inside}", listener.local_addr()?))?;
                let start = api::ForwardStart { pod: id.to_owned(), port: u32::from(inside) };
                tasks.spawn(accept(listener, client.clone(), start, Arc::clone(&turns)));
            }
        }
        tasks.join_next().await;
        Ok(ExitCode::SUCCESS)
    }
}

async fn accept(listener: TcpListener, client: Client, start: api::ForwardStart, turns: Arc<Semaphore>) {
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else { return };
        let (client, start) = (client.clone(), start.clone());
        tokio::spawn(async move {
            let port = start.port;
            if let Err(error) = pass(socket, client, start).await {
                complain(&format!("port {port}: {error:#}"));
            }
            drop(turn);
        });
    }
}

/// One connection: each direction to its own end.
async fn pass(socket: TcpStream, mut client: Client, start: api::ForwardStart) -> anyhow::Result<()> {
    let (sender, inputs) = mpsc::channel(16);
    sender.try_send(message(Input::Start(start))).expect("a fresh queue has room");
    let mut outputs = client.forward(ReceiverStream::new(inputs)).await.map_err(told)?.into_inner();
    let (mut read, mut write) = socket.into_split();
    let feed = tokio::spawn(async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let next = match read.read(&mut buffer).await {
                Ok(count @ 1..) => Input::Data(buffer[..count].to_vec()),
                Ok(0) | Err(_) => Input::End(true),
            };
            let over = matches!(next, Input::End(_));
            if sender.send(message(next)).await.is_err() {
                return;
            }
            if over {
                // The stream stays open: its end would be that of the other direction, too.
                sender.closed().await;
                return;
            }
        }
    });
    let result = loop {
        match outputs.message().await {
            Ok(Some(output)) => {
                if write.write_all(&output.data).await.is_err() {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(told(status)),
        }
    };
    write.shutdown().await.ok();
    feed.abort();
    result
}

fn message(input: Input) -> api::ForwardInput {
    api::ForwardInput { input: Some(input) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_two_or_found() {
        assert_eq!(ports("80").unwrap(), (80, 80));
        assert_eq!(ports("8080:80").unwrap(), (8080, 80));
        assert_eq!(ports(":80").unwrap(), (0, 80));
        for text in ["", "x", "0:80", "80:", "80:0", "1:2:3", "99999"] {
            assert!(ports(text).is_err(), "{text}");
        }
    }
}
