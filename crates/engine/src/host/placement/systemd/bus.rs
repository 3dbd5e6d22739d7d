//! What is asked of systemd, over the system bus.
//!
//! There is one connection, made with the first call. systemd leaves the bus when it re-executes itself, and the bus
//! closes every connection when it is restarted: both are waited for, with a bound. A call ends when systemd has done the
//! job, which it says by a signal; as a signal may be lost with a connection, the unit's state is looked at now and then.
//!
//! The interface is org.freedesktop.systemd1(5).

mod error;
mod existing;
mod outage;

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, broadcast};
use tokio::time::{Instant, sleep, timeout_at};
use zbus::message::Type;
use zbus::{
    Connection, DynamicType, MatchRule, Message, MessageStream, ObjectPath, OwnedObjectPath, OwnedVariant,
    Variant, connection, fdo,
};

pub(super) use error::BusError;
use existing::Existing;
use outage::Outage;

/// The time for what is asked, with the jobs that it takes.
const LIMIT: Duration = Duration::from_secs(20);
/// The pause before a call is repeated.
const AGAIN: Duration = Duration::from_millis(50);
/// How often a unit's state is looked at while its job is waited for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Ends of jobs that a call may be behind with before it looks at its unit instead.
const BEHIND: usize = 256;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SCOPE: &str = "org.freedesktop.systemd1.Scope";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// A scope to be started around a process.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub(super) unit: String,
    pub(super) slice: String,
    pub(super) description: String,
    pub(super) pid: i32,
    /// Whether what is below its group is not systemd's.
    pub(super) delegate: bool,
    /// The unit that is stopped after it when the machine shuts down.
    pub(super) after: Option<String>,
    /// The time between SIGTERM and SIGKILL when systemd stops it; None is the host's.
    pub(super) stop_seconds: Option<u64>,
}

type Property<'a> = (&'static str, Variant<'a>);

impl Scope {
    fn properties(&self) -> Vec<Property<'_>> {
        let pid = u32::try_from(self.pid).unwrap_or(0);
        let mut properties = vec![
            ("Description", Variant::from(self.description.as_str())),
            ("Slice", Variant::from(self.slice.as_str())),
            ("PIDs", Variant::from(vec![pid])),
            // Without: a scope that was ended by the out-of-memory killer stays, as failed.
            ("CollectMode", Variant::from("inactive-or-failed")),
            ("DefaultDependencies", Variant::from(false)),
            // A host has a usual limit for scopes, which would be one for all of a pod.
            ("TasksMax", Variant::from(u64::MAX)),
        ];
        if self.delegate {
            properties.push(("Delegate", Variant::from(true)));
        }
        if let Some(after) = &self.after {
            properties.push(("After", Variant::from(vec![after.as_str()])));
        }
        if let Some(seconds) = self.stop_seconds {
            properties.push(("TimeoutStopUSec", Variant::from(seconds * 1_000_000)));
        }
        properties
    }
}

/// The connection to systemd. Its calls block.
#[derive(Debug, Clone)]
pub(super) struct Bus {
    calls: Arc<Calls>,
    runtime: Handle,
}

impl Bus {
    /// Over the system bus, on the runtime of the caller.
    pub(super) fn system() -> Self {
        Self::of(Calls::new(None, LIMIT))
    }

    fn of(calls: Calls) -> Self {
        Self { calls: Arc::new(calls), runtime: Handle::current() }
    }

    /// Starts a scope. One that is active under this name already, or becomes it, is taken as it is: a call whose answer was
    /// lost has made it.
    pub(super) fn start(&self, scope: Scope) -> Result<(), BusError> {
        self.run(move |calls| async move { calls.start(&scope).await })
    }

    /// Stops a unit; success when systemd does not know it.
    pub(super) fn stop(&self, unit: &str) -> Result<(), BusError> {
        let unit = unit.to_owned();
        self.run(move |calls| async move { calls.stop(&unit, calls.deadline()).await })
    }

    /// The scopes whose names match a pattern, with their groups (empty when they have none).
    pub(super) fn scopes(&self, patterns: [String; 2]) -> Result<Vec<(String, String)>, BusError> {
        self.run(move |calls| async move { calls.scopes(&patterns).await })
    }

    /// Waits for a task of the runtime, so that the end of the runtime ends the wait.
    fn run<T, F>(&self, call: impl FnOnce(Arc<Calls>) -> F) -> Result<T, BusError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, BusError>> + Send + 'static,
    {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let call = call(Arc::clone(&self.calls));
        self.runtime.spawn(async move { sender.send(call.await).ok() });
        receiver.recv().unwrap_or(Err(BusError::Closed))
    }
}

/// One connection, with the ends of systemd's jobs.
#[derive(Debug)]
struct Link {
    connection: Connection,
    ended: broadcast::Receiver<Ended>,
    listener: tokio::task::AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// The end of a job.
#[derive(Debug, Clone)]
struct Ended {
    job: OwnedObjectPath,
    result: String,
}

/// Why there is no answer.
enum Cut {
    /// It may help to try again.
    Away(zbus::Error),
    Refused(zbus::Error),
}

#[derive(Debug)]
struct Calls {
    /// That of the system bus, if there is none.
    address: Option<String>,
    /// The time for what is asked.
    limit: Duration,
    link: Mutex<Option<Arc<Link>>>,
    outage: StdMutex<Outage>,
}

impl Calls {
    fn new(address: Option<String>, limit: Duration) -> Self {
        Self { address, limit, link: Mutex::default(), outage: StdMutex::default() }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.limit
    }

    async fn start(&self, scope: &Scope) -> Result<(), BusError> {
        let mut seen = None;
        match (self.start_beside(scope, &mut seen).await, seen) {
            // The time ran out while a unit was in the way: that is what to look at.
            (Err(BusError::Late { .. }), Some(state)) => {
                Err(BusError::Exists { unit: scope.unit.clone(), state, after: self.limit })
            }
            (started, _) => started,
        }
    }

    /// Starts a scope; a unit of its name that changes is waited for. `seen` is that unit's last state.
    async fn start_beside(&self, scope: &Scope, seen: &mut Option<String>) -> Result<(), BusError> {
        const CALL: &str = "StartTransientUnit";
        let none: Vec<(&str, Vec<Property<'_>>)> = Vec::new();
        let body = (scope.unit.as_str(), "fail", scope.properties(), none);
        let wanted = |state: Option<&str>| Existing::of(state) == Existing::Wanted;
        let (deadline, mut replaced) = (self.deadline(), false);
        loop {
            match self.job(CALL, &scope.unit, &body, wanted, deadline).await {
                Err(BusError::Refused { source, .. }) if is_named(&source, UNIT_EXISTS) => {}
                other => return other,
            }
            *seen = self.state(&scope.unit, deadline).await?;
            match Existing::of(seen.as_deref()) {
                Existing::Wanted => return Ok(()),
                Existing::Over if seen.is_some() && !replaced => {
                    self.stop(&scope.unit, deadline).await?;
                    replaced = true;
                    continue;
                }
                Existing::Over | Existing::Changing => {}
            }
            if Instant::now() + AGAIN >= deadline {
                return Err(BusError::Late { call: CALL, unit: scope.unit.clone(), after: self.limit });
            }
            sleep(AGAIN).await;
        }
    }

    async fn stop(&self, unit: &str, deadline: Instant) -> Result<(), BusError> {
        let over = |state: Option<&str>| Existing::of(state) == Existing::Over;
        match self.job("StopUnit", unit, &(unit, "replace"), over, deadline).await {
            Err(BusError::Refused { source, .. }) if is_named(&source, NO_SUCH_UNIT) => return Ok(()),
            other => other?,
        }
        // One that failed is kept otherwise.
        match self.call("ResetFailedUnit", unit, MANAGER_PATH, MANAGER, &(unit,), deadline).await {
            Err(BusError::Refused { source, .. }) if is_named(&source, NO_SUCH_UNIT) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn scopes(&self, patterns: &[String; 2]) -> Result<Vec<(String, String)>, BusError> {
        const CALL: &str = "ListUnitsByPatterns";
        type Listed =
            (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
        let deadline = self.deadline();
        let unit = patterns.join(" ");
        let body = (Vec::<&str>::new(), patterns.as_slice());
        let answer = self.call(CALL, &unit, MANAGER_PATH, MANAGER, &body, deadline).await?;
        let listed: Vec<Listed> = read(CALL, &unit, &answer)?;
        let mut scopes = Vec::with_capacity(listed.len());
        for (unit, _, load, _, _, _, path, ..) in listed {
            // Another unit's order names it, and it does not exist.
            if load == "not-found" {
                continue;
            }
            let group = match self.property(&unit, &path, SCOPE, "ControlGroup", deadline).await {
                // It ended after it was listed.
                Err(BusError::Refused { .. }) => None,
                group => group?,
            };
            scopes.push((unit, group.unwrap_or_default()));
        }
        Ok(scopes)
    }

    /// Makes a call that begins a job, and waits for the end of it. The unit is as `wanted` says then.
    async fn job<B>(
        &self,
        call: &'static str,
        unit: &str,
        body: &B,
        wanted: impl Fn(Option<&str>) -> bool,
        deadline: Instant,
    ) -> Result<(), BusError>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        // Before the call: its job may end before its answer is read.
        let mut ended = self.ended(call, unit, deadline).await?;
        let answer = self.call(call, unit, MANAGER_PATH, MANAGER, body, deadline).await?;
        let job: OwnedObjectPath = read(call, unit, &answer)?;
        while Instant::now() < deadline {
            match timeout_at(deadline.min(Instant::now() + LOOK_AGAIN), ended.recv()).await {
                Ok(Ok(Ended { job: other, .. })) if other != job => continue,
                Ok(Ok(Ended { result, .. })) if result == "done" => return Ok(()),
                Ok(Ok(Ended { result, .. })) => {
                    return Err(BusError::Job { call, unit: unit.to_owned(), result });
                }
                Ok(Err(broadcast::error::RecvError::Closed)) => {
                    sleep(AGAIN).await;
                    ended = self.ended(call, unit, deadline).await?;
                }
                Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => {}
            }
            if wanted(self.state(unit, deadline).await?.as_deref()) {
                return Ok(());
            }
        }
        Err(self.late(call, unit))
    }

    fn late(&self, call: &'static str, unit: &str) -> BusError {
        BusError::Late { call, unit: unit.to_owned(), after: self.limit }
    }

    /// A unit's state; None when systemd does not know it.
    async fn state(&self, unit: &str, deadline: Instant) -> Result<Option<String>, BusError> {
        const CALL: &str = "GetUnit";
        let path: OwnedObjectPath =
            match self.call(CALL, unit, MANAGER_PATH, MANAGER, &(unit,), deadline).await {
                Err(BusError::Refused { source, .. }) if is_named(&source, NO_SUCH_UNIT) => return Ok(None),
                answer => read(CALL, unit, &answer?)?,
            };
        self.property(unit, &path, UNIT, "ActiveState", deadline).await
    }

    /// A property of a unit that is text; None when the unit has gone meanwhile.
    async fn property(
        &self,
        unit: &str,
        path: &ObjectPath<'_>,
        interface: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<String>, BusError> {
        const CALL: &str = "Get";
        let answer =
            match self.call(CALL, unit, path.as_str(), PROPERTIES, &(interface, name), deadline).await {
                Err(BusError::Refused { source, .. }) if is_gone(&source) => return Ok(None),
                answer => answer?,
            };
        let value: OwnedVariant = read(CALL, unit, &answer)?;
        let text = String::try_from(value);
        text.map(Some).map_err(|source| refused(CALL, unit, source))
    }

    /// The ends of jobs from now on.
    async fn ended(
        &self,
        call: &'static str,
        unit: &str,
        deadline: Instant,
    ) -> Result<broadcast::Receiver<Ended>, BusError> {
        let link = self.persist(call, unit, deadline, || self.link()).await?;
        Ok(link.ended.resubscribe())
    }

    async fn call<B>(
        &self,
        call: &'static str,
        unit: &str,
        path: &str,
        interface: &str,
        body: &B,
        deadline: Instant,
    ) -> Result<Message, BusError>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        let once = || async {
            let link = self.link().await?;
            let answer = link.connection.call_method(Some(SYSTEMD), path, Some(interface), call, body).await;
            answer.map_err(|e| if is_away(&e) { Cut::Away(e) } else { Cut::Refused(e) })
        };
        self.persist(call, unit, deadline, once).await
    }

    /// Tries again while bus or systemd are away.
    async fn persist<T, F>(
        &self,
        call: &'static str,
        unit: &str,
        deadline: Instant,
        once: impl Fn() -> F,
    ) -> Result<T, BusError>
    where
        F: Future<Output = Result<T, Cut>>,
    {
        let outage = || self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match timeout_at(deadline, once()).await {
                Err(_) => return Err(self.late(call, unit)),
                Ok(Ok(answer)) => {
                    outage().over();
                    return Ok(answer);
                }
                Ok(Err(Cut::Refused(source))) => {
                    outage().over();
                    return Err(refused(call, unit, source));
                }
                Ok(Err(Cut::Away(source))) => {
                    // From when they were first seen to be: systemd may leave long after it was asked, and before it has answered.
                    let now = Instant::now();
                    if now >= outage().seen(now).min(deadline) {
                        return Err(BusError::Away { call, unit: unit.to_owned(), source });
                    }
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// The connection, made again when the bus has closed it.
    async fn link(&self) -> Result<Arc<Link>, Cut> {
        let mut held = self.link.lock().await;
        match held.as_ref() {
            Some(link) if !link.connection.is_closed() => return Ok(Arc::clone(link)),
            Some(_) | None => *held = None,
        }
        let link = Arc::new(self.connect().await.map_err(Cut::Away)?);
        *held = Some(Arc::clone(&link));
        Ok(link)
    }

    async fn connect(&self) -> zbus::Result<Link> {
        let builder = match &self.address {
            Some(address) => connection::Builder::address(address.as_str()),
            None => connection::Builder::system(),
        };
        let connection = builder.build().await?;
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SYSTEMD)
            .path(MANAGER_PATH)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()?;
        let mut signals = MessageStream::for_match_rule(rule, &connection, None).await?;
        connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), "Subscribe", &()).await?;
        let (sender, ended) = broadcast::channel(BEHIND);
        let listener = tokio::spawn(async move {
            while let Some(Ok(signal)) = signals.next().await {
                let end = signal.body().deserialize::<(u32, OwnedObjectPath, String, String)>();
                if let Ok((_, job, _, result)) = end {
                    // Nobody waits most of the time.
                    drop(sender.send(Ended { job, result }));
                }
            }
        });
        Ok(Link { connection, ended, listener: listener.abort_handle() })
    }
}

fn refused(call: &'static str, unit: &str, source: impl Into<zbus::Error>) -> BusError {
    BusError::Refused { call, unit: unit.to_owned(), source: source.into() }
}

fn read<T>(call: &'static str, unit: &str, answer: &Message) -> Result<T, BusError>
where
    T: serde::de::DeserializeOwned + zbus::Type,
{
    answer.body().deserialize().map_err(|source| refused(call, unit, source))
}

/// Whether systemd answered with the error of this name.
fn is_named(error: &zbus::Error, name: &str) -> bool {
    matches!(error, zbus::Error::MethodError(named, ..) if named.as_str() == name)
}

/// Whether the object of a unit does not exist any more.
fn is_gone(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::FDO(error) => matches!(**error, fdo::Error::UnknownObject(_)),
        other => is_named(other, NO_SUCH_UNIT),
    }
}

/// Whether the bus, or systemd on it, is not there at the moment.
fn is_away(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::InputOutput(_) | zbus::Error::Handshake(_) => true,
        zbus::Error::FDO(error) => matches!(
            **error,
            fdo::Error::ServiceUnknown(_)
                | fdo::Error::NameHasNoOwner(_)
                | fdo::Error::NoReply(_)
                | fdo::Error::NoServer(_)
                | fdo::Error::Disconnected(_)
                | fdo::Error::TimedOut(_)
                | fdo::Error::Timeout(_)
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
