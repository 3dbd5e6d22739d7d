//! Probes and hooks: the defaults and the checks of the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use super::expand::expand;
use super::{DEFAULT_GRACE, Fault, FaultKind, Faults, wrong};
use crate::manifest::{
    Container, ExecAction, GrpcAction, HttpGetAction, Lifecycle, LifecycleHandler, Pod, PortReference, Probe,
    RestartPolicy, SleepAction, TcpSocketAction,
};
use crate::probe::{Check, Hook, Hooks, HttpGet, Kind, Probes, Spec};

/// What goes wrong with more than one of `exec`, `httpGet` and so on.
const ONE: &str = "Forbidden: may not specify more than 1 handler type";
/// What goes wrong with none.
const NONE: &str = "Required value: must specify a handler type";
/// The most bytes of a port's name.
const MAX_NAME: usize = 15;
/// The signals that a manifest may ask for, but for those in real time.
const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// What a container's `lifecycle` says.
#[derive(Debug, Default)]
pub(super) struct Lived {
    pub(super) hooks: Hooks,
    pub(super) stop_signal: Option<String>,
}

/// Whether a container is a sidecar: an init container that is always run again.
pub(super) fn sidecar(from: &Container, init: bool, at: &str) -> Result<bool, Fault> {
    match from.restart_policy {
        None => Ok(false),
        Some(RestartPolicy::Always) if init => Ok(true),
        Some(_) => Err((format!("{at}.restartPolicy"), FaultKind::Later)),
    }
}

/// Init containers have neither: each runs to its end.
pub(super) fn refuse(from: &Container, at: &str, faults: &mut Faults) {
    let fields = [
        ("lifecycle", from.lifecycle.is_some()),
        ("livenessProbe", from.liveness_probe.is_some()),
        ("readinessProbe", from.readiness_probe.is_some()),
        ("startupProbe", from.startup_probe.is_some()),
    ];
    for (field, _) in fields.iter().filter(|(_, there)| *there) {
        let reason = "Forbidden: may not be set for init containers without restartPolicy=Always";
        faults.push(wrong(format!("{at}.{field}"), reason));
    }
}

/// The probes of a container, whose path in the manifest is `at`.
pub(super) fn probes(from: &Container, at: &str, faults: &mut Faults) -> Probes {
    let mut one = |kind: Kind, probe: &Option<Probe>, field: &str| {
        let probe = probe.as_ref()?;
        spec(from, kind, probe, &format!("{at}.{field}"), faults)
    };
    Probes {
        liveness: one(Kind::Liveness, &from.liveness_probe, "livenessProbe"),
        readiness: one(Kind::Readiness, &from.readiness_probe, "readinessProbe"),
        startup: one(Kind::Startup, &from.startup_probe, "startupProbe"),
    }
}

fn spec(from: &Container, kind: Kind, probe: &Probe, at: &str, faults: &mut Faults) -> Option<Spec> {
    let check = check(from, probe, at, faults);
    let mut number = |field: &str, given: i32, default: u32| {
        let checked = u32::try_from(given).map_err(|_| {
            wrong(
                format!("{at}.{field}"),
                format!("Invalid value: {given}: must be greater than or equal to 0"),
            )
        });
        faults.take(checked).map(|given| if given == 0 { default } else { given })
    };
    let delay = number("initialDelaySeconds", probe.initial_delay_seconds, 0);
    let timeout = number("timeoutSeconds", probe.timeout_seconds, 1);
    let period = number("periodSeconds", probe.period_seconds, 10);
    let successes = number("successThreshold", probe.success_threshold, 1);
    let failures = number("failureThreshold", probe.failure_threshold, 3);
    if kind != Kind::Readiness && successes.is_some_and(|n| n != 1) {
        let message = format!("Invalid value: {}: must be 1", probe.success_threshold);
        faults.push(wrong(format!("{at}.successThreshold"), message));
    }
    let grace = faults.take(grace(kind, probe, at));
    let seconds = |n: u32| Duration::from_secs(n.into());
    Some(Spec {
        check: check?,
        delay: seconds(delay?),
        period: seconds(period?),
        timeout: seconds(timeout?),
        successes: successes?,
        failures: failures?,
        grace: grace?,
    })
}

fn grace(kind: Kind, probe: &Probe, at: &str) -> Result<Option<u64>, Fault> {
    let at = format!("{at}.terminationGracePeriodSeconds");
    match probe.termination_grace_period_seconds {
        None => Ok(None),
        Some(given) if given <= 0 => {
            Err(wrong(at, format!("Invalid value: {given}: must be greater than 0")))
        }
        Some(given) if kind == Kind::Readiness => {
            Err(wrong(at, format!("Invalid value: {given}: must not be set for readinessProbes")))
        }
        Some(given) => Ok(u64::try_from(given).ok()),
    }
}

/// The first handler counts; the others are faults.
fn check(from: &Container, probe: &Probe, at: &str, faults: &mut Faults) -> Option<Check> {
    let Probe { exec, http_get, tcp_socket, grpc, .. } = probe;
    let mut one = One { at, faults, there: false };
    let exec = exec.as_ref().and_then(|exec| {
        one.handler("exec", |at, faults| {
            let command = faults.take(command(exec, at))?;
            // As the kubelet does: what the manifest itself says of its variables.
            let values: BTreeMap<_, _> =
                from.env.iter().map(|env| (env.name.clone(), env.value.clone())).collect();
            Some(Check::Exec(command.iter().map(|text| expand(text, &values)).collect()))
        })
    });
    let http = http_get
        .as_ref()
        .and_then(|get| one.handler("httpGet", |at, faults| http(from, get, at, faults).map(Check::Http)));
    let tcp = tcp_socket
        .as_ref()
        .and_then(|tcp| one.handler("tcpSocket", |at, faults| faults.take(tcp_socket_of(from, tcp, at))));
    let grpc = grpc.as_ref().and_then(|grpc| one.handler("grpc", |at, faults| grpc_of(grpc, at, faults)));
    one.end();
    exec.or(http).or(tcp).or(grpc)
}

/// The handlers of one object, of which there must be one.
struct One<'a> {
    at: &'a str,
    faults: &'a mut Faults,
    there: bool,
}

impl One<'_> {
    fn handler<T>(&mut self, field: &str, read: impl FnOnce(&str, &mut Faults) -> Option<T>) -> Option<T> {
        let at = format!("{}.{field}", self.at);
        if std::mem::replace(&mut self.there, true) {
            self.faults.push(wrong(at, ONE));
            return None;
        }
        read(&at, self.faults)
    }

    fn end(self) {
        if !self.there {
            self.faults.push(wrong(self.at, NONE));
        }
    }
}

fn command(exec: &ExecAction, at: &str) -> Result<Vec<String>, Fault> {
    if exec.command.is_empty() {
        return Err(wrong(format!("{at}.command"), "Required value"));
    }
    Ok(exec.command.clone())
}

fn http(from: &Container, get: &HttpGetAction, at: &str, faults: &mut Faults) -> Option<HttpGet> {
    let port = faults.take(port(from, &get.port, &format!("{at}.port")));
    let tls = match get.scheme.as_deref() {
        None | Some("" | "HTTP") => false,
        Some("HTTPS") => true,
        Some(other) => {
            let message = format!("Unsupported value: {other:?}: supported values: \"HTTP\", \"HTTPS\"");
            faults.push(wrong(format!("{at}.scheme"), message));
            false
        }
    };
    match get.protocol.as_deref() {
        None | Some("HTTP1") => {}
        Some("HTTP2") => faults.push((format!("{at}.protocol"), FaultKind::Later)),
        Some(other) => {
            let message = format!("Unsupported value: {other:?}: supported values: \"HTTP1\", \"HTTP2\"");
            faults.push(wrong(format!("{at}.protocol"), message));
        }
    }
    for (index, header) in get.http_headers.iter().enumerate() {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if header.name.is_empty() || !header.name.bytes().all(ok) {
            let message = format!(
                "Invalid value: {:?}: a valid HTTP header must consist of alphanumeric characters or '-'",
                header.name
            );
            faults.push(wrong(format!("{at}.httpHeaders[{index}].name"), message));
        }
        if header.value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            let message = "Invalid value: a value of a header has no control characters";
            faults.push(wrong(format!("{at}.httpHeaders[{index}].value"), message));
        }
    }
    let path = get.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
    let headers = get.http_headers.iter().map(|h| (h.name.clone(), h.value.clone())).collect();
    Some(HttpGet { tls, host: host(&get.host), port: port?, path, headers })
}

fn host(given: &Option<String>) -> Option<String> {
    given.clone().filter(|host| !host.is_empty())
}

fn tcp_socket_of(from: &Container, tcp: &TcpSocketAction, at: &str) -> Result<Check, Fault> {
    Ok(Check::Tcp { host: host(&tcp.host), port: port(from, &tcp.port, &format!("{at}.port"))? })
}

fn grpc_of(grpc: &GrpcAction, at: &str, faults: &mut Faults) -> Option<Check> {
    match grpc.mode.as_deref() {
        None | Some("Plaintext") => {}
        Some("TLS") => faults.push((format!("{at}.mode"), FaultKind::Later)),
        Some(other) => {
            let message = format!("Unsupported value: {other:?}: supported values: \"Plaintext\", \"TLS\"");
            faults.push(wrong(format!("{at}.mode"), message));
        }
    }
    let port = faults.take(number(grpc.port, &format!("{at}.port")))?;
    Some(Check::Grpc { port, service: grpc.service.clone().unwrap_or_default() })
}

fn number(port: i64, at: &str) -> Result<u16, Fault> {
    u16::try_from(port)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| wrong(at, format!("Invalid value: {port}: must be between 1 and 65535, inclusive")))
}

/// A port, which may be named as one of the container's.
fn port(from: &Container, port: &PortReference, at: &str) -> Result<u16, Fault> {
    let name = match port {
        PortReference::Number(port) => return number(*port, at),
        PortReference::Name(name) => name,
    };
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let valid = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(ok)
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.contains("--")
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !valid {
        let reason = "the name of a port has up to 15 lower-case letters, digits and single '-', and at least one letter";
        return Err(wrong(at, format!("Invalid value: {name:?}: {reason}")));
    }
    let named = from.ports.iter().find(|port| port.name.as_deref() == Some(name));
    named
        .map(|port| port.container_port)
        .ok_or_else(|| wrong(at, format!("Not found: {name:?}: the container has no port of this name")))
}

/// What a container's `lifecycle` says, whose path in the manifest is `at`.
pub(super) fn lifecycle(pod: &Pod, from: &Container, at: &str, faults: &mut Faults) -> Lived {
    let Some(Lifecycle { post_start, pre_stop, stop_signal }) = &from.lifecycle else {
        return Lived::default();
    };
    let grace = pod.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE);
    let mut one = |handler: &Option<LifecycleHandler>, field: &str| {
        let at = format!("{at}.lifecycle.{field}");
        handler.as_ref().and_then(|handler| hook(from, handler, grace, &at, faults))
    };
    let hooks = Hooks { post_start: one(post_start, "postStart"), pre_stop: one(pre_stop, "preStop") };
    let stop_signal = faults.take(signal(stop_signal.as_deref(), &format!("{at}.lifecycle.stopSignal")));
    Lived { hooks, stop_signal: stop_signal.flatten() }
}

fn hook(
    from: &Container,
    handler: &LifecycleHandler,
    grace: u64,
    at: &str,
    faults: &mut Faults,
) -> Option<Hook> {
    let LifecycleHandler { exec, http_get, tcp_socket, sleep } = handler;
    let mut one = One { at, faults, there: false };
    let exec = exec
        .as_ref()
        .and_then(|exec| one.handler("exec", |at, faults| faults.take(command(exec, at)).map(Hook::Exec)));
    let http = http_get
        .as_ref()
        .and_then(|get| one.handler("httpGet", |at, faults| http(from, get, at, faults).map(Hook::Http)));
    if tcp_socket.is_some() {
        one.handler("tcpSocket", |at, faults| {
            let reason = "Forbidden: no hook: a kubelet fails it always";
            faults.take::<()>(Err(wrong(at, reason)))
        });
    }
    let sleep = sleep
        .as_ref()
        .and_then(|sleep| one.handler("sleep", |at, faults| faults.take(sleep_of(sleep, grace, at))));
    one.end();
    exec.or(http).or(sleep)
}

fn sleep_of(sleep: &SleepAction, grace: u64, at: &str) -> Result<Hook, Fault> {
    let seconds = u64::try_from(sleep.seconds).ok().filter(|seconds| *seconds <= grace);
    let seconds = seconds.ok_or_else(|| {
        let reason = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        wrong(at, format!("Invalid value: {}: {reason}", sleep.seconds))
    })?;
    Ok(Hook::Sleep(Duration::from_secs(seconds)))
}

/// A signal by its name, as the engine takes it.
fn signal(given: Option<&str>, at: &str) -> Result<Option<String>, Fault> {
    let Some(name) = given else { return Ok(None) };
    let known = |short: &str| {
        let real_time = |base: &str, sign: char, most: u32| {
            short.strip_prefix(base).is_some_and(|rest| {
                let offset = rest.strip_prefix(sign).filter(|digits| !digits.starts_with('0'));
                rest.is_empty() || offset.and_then(|n| n.parse().ok()).is_some_and(|n: u32| n <= most)
            })
        };
        SIGNALS.contains(&short) || real_time("RTMIN", '+', 15) || real_time("RTMAX", '-', 14)
    };
    if name.strip_prefix("SIG").is_some_and(known) {
        Ok(Some(name.to_owned()))
    } else {
        Err(wrong(at, format!("Unsupported value: {name:?}: a signal of Linux, as SIGTERM or SIGRTMIN+3")))
    }
}

#[cfg(test)]
mod tests;
