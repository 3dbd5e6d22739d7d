//! Exec and port forwarding by URL, with Kubernetes' own client.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{crowd, mebibytes, per_second};
use crate::bench::pod::{Hardening, Network, Pod};
use crate::bench::samples::{Samples, Unit};
use crate::bench::{Options, Target, machine};
use crate::cri::{Client, api};

/// The transports by their names in the client and in the table.
const TRANSPORTS: [(&str, &str); 2] = [("spdy", "SPDY"), ("websocket", "WebSocket")];
/// Calls of one client.
const CALLS: usize = 60;
/// Calls of several clients together, and how many clients.
const MANY: (usize, usize) = (400, 8);
/// The bytes of a stream.
const SIZE: u64 = 1 << 30;
/// Where the pod serves them.
const PORT: u16 = 8001;

/// All of it, over both transports. The pod has no limits, as the client has none.
pub(super) async fn run(
    client: &mut Client,
    target: &Target,
    options: &Options,
    samples: &mut Samples,
) -> Result<()> {
    let program = options.client.as_deref().context("--client is needed for streams")?;
    let daemon = machine::owner(&target.endpoint).context("whose socket it is")?;
    let mut pod = Pod::new(Network::Pod, Hardening::Plain);
    pod.up(client).await?;
    serve(client, &pod).await?;
    for (transport, name) in TRANSPORTS {
        let go = Go { program, endpoint: &target.endpoint, pod: &pod, transport };
        if let Err(error) = calls(&go, name, samples) {
            // Another runtime may not speak with this client at all: its rows stay empty.
            if target.daemon.is_some() {
                return Err(error);
            }
            writeln!(std::io::stderr(), "{name} on {}: {error:#}", target.label)?;
            continue;
        }
        let work = async {
            let go = (go.command(), go.command(), go.command());
            tokio::task::spawn_blocking(move || gigabytes(go)).await?
        };
        let (rates, most) = crowd::watched(daemon, work).await?;
        for (what, rate) in ["to an exec", "from an exec", "from a port"].iter().zip(rates) {
            samples.value(&format!("1 GB {what}, {name}"), Unit::MegabytesPerSecond, rate);
        }
        samples.value(&format!("daemon memory, 1 GB, {name}"), Unit::Mebibytes, mebibytes(most));
    }
    pod.down(client).await?;
    Ok(())
}

/// Everybody who connects to the pod's port gets the bytes.
async fn serve(client: &mut Client, pod: &Pod) -> Result<()> {
    let serve = format!("nc -ll -p {PORT} -e head -c {SIZE} /dev/zero </dev/null >/dev/null 2>&1 &");
    let request = api::ExecSyncRequest {
        container_id: pod.container.clone(),
        cmd: ["/bin/busybox", "sh", "-c", &serve].map(str::to_owned).to_vec(),
        timeout: 30,
    };
    let answer = client.runtime.exec_sync(request).await.context("ExecSync")?.into_inner();
    if answer.exit_code != 0 {
        bail!("the server in the pod: exit code {}", answer.exit_code);
    }
    Ok(())
}

/// The client's program, and what it is to work on.
struct Go<'a> {
    program: &'a Path,
    endpoint: &'a str,
    pod: &'a Pod,
    transport: &'a str,
}

impl Go<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(["-socket", self.endpoint.trim_start_matches("unix://"), "-transport", self.transport]);
        command.args(["-container", &self.pod.container, "-sandbox", &self.pod.id, "-count"]);
        command.stdin(Stdio::null());
        command
    }
}

/// What the client tells of an exec.
#[derive(Debug, serde::Deserialize)]
struct Outcome {
    code: i64,
    #[serde(default)]
    error: String,
    bytes: u64,
    /// Its own time, and when it ended since the first of all began.
    micros: u64,
    ended: u64,
}

fn outcomes(command: &mut Command) -> Result<Vec<Outcome>> {
    let output = command.stderr(Stdio::inherit()).output().context("run the client")?;
    if !output.status.success() {
        bail!("the client ended with {}", output.status);
    }
    let mut all = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let outcome: Outcome = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if outcome.code != 0 {
            bail!("exec: code {}, {}", outcome.code, outcome.error);
        }
        all.push(outcome);
    }
    Ok(all)
}

fn calls(go: &Go<'_>, name: &str, samples: &mut Samples) -> Result<()> {
    const WARM_UP: usize = 3;
    let echo = ["exec", "/bin/busybox", "true"];
    let one = outcomes(go.command().args(["-repeat", &(CALLS + WARM_UP).to_string()]).args(echo))?;
    for outcome in &one[WARM_UP..] {
        samples.time(&format!("exec by URL, {name}"), Duration::from_micros(outcome.micros));
    }
    let (repeat, parallel) = (MANY.0.to_string(), MANY.1.to_string());
    let many = outcomes(go.command().args(["-repeat", &repeat, "-parallel", &parallel]).args(echo))?;
    let took = many.iter().map(|outcome| outcome.ended).max().unwrap_or_default();
    let rate = per_second(many.len(), Duration::from_micros(took));
    samples.value(&format!("execs by URL, {} clients, {name}", MANY.1), Unit::PerSecond, rate);
    Ok(())
}

/// MB/s into an exec, out of one, and from a forwarded port. Blocks.
fn gigabytes((mut to, mut from, mut port): (Command, Command, Command)) -> Result<[f64; 3]> {
    let to = outcomes(to.args(["-stdin", &format!("zeros:{SIZE}"), "exec", "/bin/busybox", "wc", "-c"]))?;
    let size = SIZE.to_string();
    let from = outcomes(from.args(["exec", "/bin/busybox", "head", "-c", &size, "/dev/zero"]))?;
    let ([to], [from]) = (&to[..], &from[..]) else {
        bail!("an exec has another number of outcomes than one")
    };
    if from.bytes != SIZE {
        bail!("{} bytes came out of the exec", from.bytes);
    }
    let child =
        port.args(["forward", &PORT.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = Running(child.context("run the client")?);
    let begin = forwarded(&mut child.0)?;
    Ok([Duration::from_micros(to.micros), Duration::from_micros(from.micros), begin].map(rate))
}

/// Reads all that the pod's port gives.
fn forwarded(child: &mut Child) -> Result<Duration> {
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("the client's output")?).read_line(&mut line)?;
    let ports: Vec<u16> =
        serde_json::from_str(&line).with_context(|| format!("the client's ports: {line:?}"))?;
    let begin = Instant::now();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0]))?;
    let (mut buffer, mut count) = (vec![0; 1 << 18], 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            read => count += read as u64,
        }
    }
    if count != SIZE {
        bail!("{count} bytes came through the port");
    }
    Ok(begin.elapsed())
}

/// Megabytes per second.
#[allow(clippy::cast_precision_loss, reason = "exact: a power of two")]
fn rate(took: Duration) -> f64 {
    SIZE as f64 / 1e6 / took.as_secs_f64()
}

/// The client, until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
