//! Against a stand-in for systemd on a bus of the test's own, made by Debian's dbus-daemon. The real one is asked in the
//! virtual machine of `cargo xtask vm --systemd`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex as StdMutex};

use berth_testkit::guard::has_program;
use berth_testkit::{require, wait_until};
use berth_types::{Classify, Kind};
use zbus::message::Header;

use super::*;

const WAIT: Duration = Duration::from_secs(20);
const UNIT_NAME: &str = "berth-pod1.scope";

/// A bus.
struct Broker {
    process: Child,
    dir: tempfile::TempDir,
}

impl Broker {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "<busconfig><type>custom</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/>\
             <allow receive_sender=\"*\"/></policy></busconfig>",
            Self::socket(&dir).display()
        );
        std::fs::write(dir.path().join("bus.conf"), config).unwrap();
        let process = Self::begin(&dir);
        Self { process, dir }
    }

    fn socket(dir: &tempfile::TempDir) -> PathBuf {
        dir.path().join("bus")
    }

    fn begin(dir: &tempfile::TempDir) -> Child {
        std::fs::remove_file(Self::socket(dir)).ok();
        let config = format!("--config-file={}", dir.path().join("bus.conf").display());
        let process = Command::new("dbus-daemon").args([&config, "--nofork", "--nopidfile"]).spawn().unwrap();
        wait_until(WAIT, || std::os::unix::net::UnixStream::connect(Self::socket(dir)).is_ok());
        process
    }

    fn end(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.end();
        self.process = Self::begin(&self.dir);
    }

    fn address(&self) -> String {
        format!("unix:path={}", Self::socket(&self.dir).display())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What the stand-in does with the jobs of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Does them.
    Does,
    /// Does them and is not heard.
    IsNotHeard,
    /// Fails at them.
    Fails,
}

/// A stand-in for systemd.
struct Manager {
    units: Arc<StdMutex<BTreeMap<String, &'static str>>>,
    calls: Arc<StdMutex<Vec<String>>>,
    connection: Connection,
}

impl Manager {
    async fn new(address: &str, manner: Manner) -> Self {
        let connection = connection::Builder::address(address).build().await.unwrap();
        connection.request_name(SYSTEMD).await.unwrap();
        let (units, calls) = (Arc::default(), Arc::default());
        let served = Served { units: Arc::clone(&units), calls: Arc::clone(&calls), manner };
        let on = connection.clone();
        tokio::spawn(async move {
            let mut messages = MessageStream::from(&on);
            let mut job = 0;
            while let Some(Ok(message)) = messages.next().await {
                if message.header().message_type() == Type::MethodCall {
                    job += 1;
                    served.answer(&on, &message, job).await;
                }
            }
        });
        Self { units, calls, connection }
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn unit(&self, state: Option<&'static str>) {
        let mut units = self.units.lock().unwrap();
        match state {
            Some(state) => units.insert(UNIT_NAME.to_owned(), state),
            None => units.remove(UNIT_NAME),
        };
    }
}

struct Served {
    units: Arc<StdMutex<BTreeMap<String, &'static str>>>,
    calls: Arc<StdMutex<Vec<String>>>,
    manner: Manner,
}

impl Served {
    async fn answer(&self, on: &Connection, message: &Message, number: u32) {
        let header = message.header();
        let member = header.member().unwrap().to_string();
        self.calls.lock().unwrap().push(member.clone());
        let known = |unit: &str| self.units.lock().unwrap().get(unit).copied();
        match member.as_str() {
            "Subscribe" => on.reply(&header, &()).await.unwrap(),
            "StartTransientUnit" => {
                type Body =
                    (String, String, Vec<(String, OwnedVariant)>, Vec<(String, Vec<(String, OwnedVariant)>)>);
                let (unit, ..) = message.body().deserialize::<Body>().unwrap();
                if known(&unit).is_some() {
                    return refuse(on, &header, UNIT_EXISTS).await;
                }
                self.job(on, &header, &unit, "active", number).await;
            }
            "StopUnit" => {
                let (unit, _) = message.body().deserialize::<(String, String)>().unwrap();
                if known(&unit).is_none() {
                    return refuse(on, &header, NO_SUCH_UNIT).await;
                }
                self.job(on, &header, &unit, "failed", number).await;
            }
            "ResetFailedUnit" => {
                let (unit,) = message.body().deserialize::<(String,)>().unwrap();
                self.units.lock().unwrap().remove(&unit);
                on.reply(&header, &()).await.unwrap();
            }
            "GetUnit" => {
                let (unit,) = message.body().deserialize::<(String,)>().unwrap();
                match known(&unit) {
                    Some(_) => {
                        let path = ObjectPath::try_from("/unit").unwrap();
                        on.reply(&header, &(path,)).await.unwrap();
                    }
                    None => refuse(on, &header, NO_SUCH_UNIT).await,
                }
            }
            "ListUnitsByPatterns" => {
                let (states, patterns) = message.body().deserialize::<(Vec<String>, Vec<String>)>().unwrap();
                assert_eq!((states.len(), patterns.len()), (0, 2));
                let (path, job) =
                    (ObjectPath::try_from("/unit").unwrap(), ObjectPath::try_from("/").unwrap());
                let line = |unit: &String| {
                    (unit.clone(), "", "loaded", "active", "running", "", path.clone(), 0u32, "", job.clone())
                };
                let units: Vec<_> = self.units.lock().unwrap().keys().map(line).collect();
                on.reply(&header, &(units,)).await.unwrap();
            }
            "Get" if message.body().deserialize::<(String, String)>().unwrap().1 == "ControlGroup" => {
                on.reply(&header, &(Variant::from("/test.slice/berth-pod1.scope"),)).await.unwrap();
            }
            "Get" => match known(UNIT_NAME) {
                Some(state) => on.reply(&header, &(Variant::from(state),)).await.unwrap(),
                None => refuse(on, &header, "org.freedesktop.DBus.Error.UnknownObject").await,
            },
            other => panic!("unexpected call: {other}"),
        }
    }

    async fn job(&self, on: &Connection, header: &Header<'_>, unit: &str, state: &'static str, number: u32) {
        let path = OwnedObjectPath::try_from(format!("/job/{number}")).unwrap();
        let result = match self.manner {
            Manner::Fails => "failed",
            Manner::Does | Manner::IsNotHeard => {
                self.units.lock().unwrap().insert(unit.to_owned(), state);
                "done"
            }
        };
        // Before the answer: its caller must have listened from before its call.
        if self.manner != Manner::IsNotHeard {
            let body = (number, &path, unit, result);
            let (none, manager) = (None::<&str>, MANAGER);
            on.emit_signal(none, MANAGER_PATH, manager, "JobRemoved", &body).await.unwrap();
        }
        on.reply(header, &(&path,)).await.unwrap();
    }
}

async fn refuse(on: &Connection, header: &Header<'_>, name: &str) {
    on.reply_error(header, name, &("the stand-in says no",)).await.unwrap();
}

fn scope() -> Scope {
    Scope {
        unit: UNIT_NAME.to_owned(),
        slice: "test.slice".to_owned(),
        description: "Pod 1".to_owned(),
        pid: 1,
        delegate: true,
        after: Some("berth-shim1.scope".to_owned()),
        stop_seconds: Some(2),
    }
}

/// A bus with a stand-in on it, and the runtime that both are used on.
struct World {
    manager: Manager,
    bus: Bus,
    broker: Broker,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new(manner: Manner) -> Self {
        Self::with(manner, LIMIT)
    }

    fn with(manner: Manner, limit: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let (runtime, broker) = (runtime.unwrap(), Broker::new());
        let (manager, bus) = runtime.block_on(async {
            let calls = Calls::new(Some(broker.address()), limit);
            (Manager::new(&broker.address(), manner).await, Bus::of(calls))
        });
        Self { manager, bus, broker, runtime }
    }
}

macro_rules! require_bus {
    () => {
        require!(has_program("dbus-daemon"), "needs the package dbus-daemon")
    };
}

#[test]
fn a_job_is_waited_for_and_its_failure_is_named() {
    require_bus!();
    let world = World::new(Manner::Does);
    world.bus.start(scope()).unwrap();
    assert_eq!(world.manager.calls(), ["Subscribe", "StartTransientUnit"]);
    world.bus.stop(UNIT_NAME).unwrap();
    // One connection for all calls, and nothing left of the unit.
    assert_eq!(world.manager.calls(), ["StopUnit", "ResetFailedUnit"]);
    assert!(world.manager.units.lock().unwrap().is_empty());
    world.bus.stop(UNIT_NAME).unwrap();
    assert_eq!(world.manager.calls(), ["StopUnit"]);

    let world = World::new(Manner::Fails);
    let error = world.bus.start(scope()).unwrap_err();
    assert!(matches!(&error, BusError::Job { result, .. } if result == "failed"), "{error:?}");
    assert!(error.to_string().contains(UNIT_NAME), "{error}");
}

#[test]
fn a_unit_that_exists_is_taken_when_it_is_active_and_replaced_when_it_failed() {
    require_bus!();
    let world = World::new(Manner::Does);
    world.manager.unit(Some("active"));
    world.bus.start(scope()).unwrap();
    assert_eq!(world.manager.calls(), ["Subscribe", "StartTransientUnit", "GetUnit", "Get"]);
    world.manager.unit(Some("failed"));
    world.bus.start(scope()).unwrap();
    let replaced =
        ["StartTransientUnit", "GetUnit", "Get", "StopUnit", "ResetFailedUnit", "StartTransientUnit"];
    assert_eq!(world.manager.calls(), replaced);
}

#[test]
fn a_unit_that_exists_is_waited_for_while_it_changes() {
    require_bus!();
    let world = World::new(Manner::Does);
    for (state, then) in [("activating", Some("active")), ("deactivating", None)] {
        world.manager.unit(Some(state));
        world.manager.calls();
        let bus = world.bus.clone();
        let started = std::thread::spawn(move || bus.start(scope()));
        let asked = || world.manager.calls.lock().unwrap().iter().any(|call| call == "Get");
        assert!(wait_until(WAIT, asked), "{state}: {:?}", world.manager.calls());
        world.manager.unit(then);
        started.join().unwrap().unwrap();
        let calls = world.manager.calls();
        assert!(!calls.contains(&"StopUnit".to_owned()), "{state}: {calls:?}");
        assert_eq!(world.manager.units.lock().unwrap().get(UNIT_NAME), Some(&"active"), "{state}");
    }
}

#[test]
fn a_unit_that_neither_becomes_active_nor_goes_is_named_with_its_state() {
    require_bus!();
    let world = World::with(Manner::Does, Duration::from_secs(1));
    for state in ["activating", "deactivating"] {
        world.manager.unit(Some(state));
        let error = world.bus.start(scope()).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        let text = error.to_string();
        assert!(text.contains(UNIT_NAME) && text.contains(&format!("still {state} after")), "{text}");
        assert!(error.hint().unwrap().contains(UNIT_NAME), "{error:?}");
    }
}

#[test]
fn what_is_done_about_a_unit_is_in_its_state() {
    let all = [
        (None, Existing::Over),
        (Some("active"), Existing::Wanted),
        (Some("reloading"), Existing::Changing),
        (Some("inactive"), Existing::Over),
        (Some("failed"), Existing::Over),
        (Some("activating"), Existing::Changing),
        (Some("deactivating"), Existing::Changing),
        (Some("maintenance"), Existing::Changing),
        (Some("one to come"), Existing::Changing),
    ];
    for (state, expected) in all {
        assert_eq!(Existing::of(state), expected, "{state:?}");
    }
}

#[test]
fn a_job_whose_end_is_not_heard_is_seen_in_its_unit() {
    require_bus!();
    let world = World::new(Manner::IsNotHeard);
    world.bus.start(scope()).unwrap();
    assert_eq!(world.manager.calls(), ["Subscribe", "StartTransientUnit", "GetUnit", "Get"]);
    world.bus.stop(UNIT_NAME).unwrap();
}

#[test]
fn the_bus_may_be_restarted_and_systemd_may_leave_it() {
    require_bus!();
    let mut world = World::new(Manner::Does);
    world.bus.start(scope()).unwrap();
    world.broker.restart();
    world.manager = world.runtime.block_on(Manager::new(&world.broker.address(), Manner::Does));
    world.bus.start(scope()).unwrap();
    assert_eq!(world.manager.calls(), ["Subscribe", "StartTransientUnit"]);
    world.manager.unit(None);

    // It executes itself again: nobody has its name for a moment.
    world.runtime.block_on(world.manager.connection.release_name(SYSTEMD)).unwrap();
    let bus = world.bus.clone();
    let started = std::thread::spawn(move || bus.start(scope()));
    world.runtime.block_on(world.manager.connection.request_name(SYSTEMD)).unwrap();
    started.join().unwrap().unwrap();
}

/// As when it executes itself again while a call is in its queue.
#[tokio::test(start_paused = true)]
async fn systemd_may_leave_long_after_it_was_asked() {
    let calls = Calls::new(None, LIMIT);
    let left = || Cut::Away(zbus::Error::FDO(Box::new(fdo::Error::NoReply("it left".to_owned()))));
    let begun = Instant::now();
    let asked = std::cell::Cell::new(0);
    let once = || async {
        asked.set(asked.get() + 1);
        match asked.get() {
            1 => {
                sleep(2 * outage::LIMIT).await;
                Err(left())
            }
            2 => Err(left()),
            _ => Ok(()),
        }
    };
    calls.persist("StopUnit", UNIT_NAME, begun + LIMIT, once).await.unwrap();
    assert_eq!(asked.get(), 3);
    // It does not come back.
    let begun = Instant::now();
    let error = calls.persist("StopUnit", UNIT_NAME, begun + LIMIT, || async { Err::<(), _>(left()) }).await;
    assert!(matches!(error, Err(BusError::Away { .. })), "{error:?}");
    assert!(begun.elapsed() >= outage::LIMIT && begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    // Those that ask next do not wait once more: a daemon that starts may have many to ask for.
    let begun = Instant::now();
    for _ in 0..100 {
        let error =
            calls.persist("StopUnit", UNIT_NAME, begun + LIMIT, || async { Err::<(), _>(left()) }).await;
        assert!(matches!(error, Err(BusError::Away { .. })), "{error:?}");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[test]
fn scopes_are_told_with_their_groups() {
    require_bus!();
    let world = World::new(Manner::Does);
    let patterns = || ["berth-pod*.scope".to_owned(), "berth-shim*.scope".to_owned()];
    assert!(world.bus.scopes(patterns()).unwrap().is_empty());
    world.bus.start(scope()).unwrap();
    let group = "/test.slice/berth-pod1.scope".to_owned();
    assert_eq!(world.bus.scopes(patterns()).unwrap(), [(UNIT_NAME.to_owned(), group)]);
}

#[test]
fn without_a_bus_the_hint_says_what_to_do() {
    require_bus!();
    let mut world = World::new(Manner::Does);
    world.broker.end();
    let error = world.bus.start(scope()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.hint().unwrap().contains("--cgroup-driver cgroupfs"), "{error:?}");
    // The end of the runtime ends calls.
    let World { bus, runtime, .. } = world;
    runtime.shutdown_background();
    assert!(matches!(bus.stop(UNIT_NAME), Err(BusError::Closed)));
}
