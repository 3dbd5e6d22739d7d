//! The machines as tables, for documents and tests: what [`next`](container::Container::next) does in each state
//! with each message. Nothing is written down here twice: every cell is what the machine did.

use std::time::Duration;

use super::container::{self, Ask, Container, Found, Life, Start};
use super::pod::{self, Link, Pod};
use super::sandbox::{self, Ending, Sandbox, Stage};
use super::{Kinds, Outcome, Refused};

/// States that only hold waiting callers.
#[derive(Debug)]
pub struct Plain;

impl Kinds for Plain {
    type Facts = ();
    type Exit = ();
    type Waiter = &'static str;
    type Error = ();
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A caller, which waits for an answer.
    Call,
    /// Work that an effect began.
    Work,
    /// The shim, or what is known of it.
    Shim,
}

/// A message.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// What it says.
    pub says: &'static str,
}

/// A state with what becomes of it.
#[derive(Debug)]
pub struct Row {
    /// The state with the part of its data that matters.
    pub name: String,
    /// The state alone.
    pub state: String,
    /// What each message does, in the order of the columns.
    pub cells: Vec<Cell>,
}

/// What a message does in a state.
#[derive(Debug)]
pub struct Cell {
    /// The state after, with the part of its data that matters.
    pub after: String,
    /// The state after, alone.
    pub state: String,
    /// What is done; `NAME: done` is an answer, and `caller` is the one that the message brought.
    pub effects: Vec<String>,
}

/// A machine.
#[derive(Debug)]
pub struct Table {
    /// The messages.
    pub columns: Vec<Column>,
    /// The states.
    pub rows: Vec<Row>,
}

type Message<M> = (&'static str, Source, &'static str, fn() -> M);

/// The one that a message brings.
const CALLER: &str = "caller";

/// The machine of a container.
pub fn container() -> Table {
    let row = |sample: fn() -> Container<Plain>| Row {
        name: container_name(&sample()),
        state: plain(&sample().state()),
        cells: CONTAINER
            .iter()
            .map(|(_, _, _, message)| {
                let mut container = sample();
                let effects = container.next(message()).iter().map(container_effect).collect();
                Cell { after: container_name(&container), state: plain(&container.state()), effects }
            })
            .collect(),
    };
    Table { columns: columns(CONTAINER), rows: container_samples().into_iter().map(row).collect() }
}

/// The machine of a pod sandbox.
pub fn sandbox() -> Table {
    let row = |sample: fn() -> Sandbox<Plain>| Row {
        name: sandbox_name(&sample()),
        state: plain(&sample().state()),
        cells: SANDBOX
            .iter()
            .map(|(_, _, _, message)| {
                let mut sandbox = sample();
                let effects = sandbox.next(message()).iter().map(sandbox_effect).collect();
                Cell { after: sandbox_name(&sandbox), state: plain(&sandbox.state()), effects }
            })
            .collect(),
    };
    Table { columns: columns(SANDBOX), rows: sandbox_samples().into_iter().map(row).collect() }
}

/// The way to the shim of a pod that holds nothing alive, and what becomes of the pod.
pub fn pod() -> Table {
    let row = |sample: fn() -> Pod<Plain>| Row {
        name: pod_name(&sample()),
        state: plain(&sample().link()),
        cells: POD
            .iter()
            .map(|(_, _, _, message)| {
                let mut pod = sample();
                let effects = pod.next(message()).iter().map(pod_effect).collect();
                Cell { after: pod_name(&pod), state: plain(&pod.link()), effects }
            })
            .collect(),
    };
    Table { columns: columns(POD), rows: pod_samples().into_iter().map(row).collect() }
}

fn columns<M>(messages: &[Message<M>]) -> Vec<Column> {
    messages.iter().map(|(name, source, says, _)| Column { name, source: *source, says }).collect()
}

/// `Stopping { then: Exited }` as `Stopping (then Exited)`.
fn plain(state: &impl std::fmt::Debug) -> String {
    format!("{state:?}").replace("{ then: ", "(then ").replace(" }", ")")
}

const CONTAINER: &[Message<container::Message<Plain>>] = {
    use Source::{Call, Shim, Work};
    use container::Message as M;
    &[
        ("Join", Call, "create it again", || M::Join(CALLER)),
        ("Start", Call, "start it", || M::Start(CALLER)),
        ("Stop", Call, "stop it within a time", || M::Stop(Duration::from_secs(30), CALLER)),
        ("Remove", Call, "remove it", || M::Remove(CALLER)),
        ("Prepared", Work, "its process waits, prepared", || M::Prepared((), Outcome::Done)),
        ("NotPrepared", Work, "it could not be prepared; what was made is undone", || M::NotPrepared(())),
        ("Started", Work, "its command runs", || M::Started(2)),
        ("NotStarted", Work, "its command could not be executed", || M::NotStarted((), ())),
        ("StartOverdue", Work, "the start was not answered: it may have happened", || M::StartOverdue(())),
        ("NotStopped", Work, "it could not be killed", || M::NotStopped(())),
        ("Removed", Work, "everything of it is removed", || M::Removed),
        ("NotRemoved", Work, "a part of it could not be removed", || M::NotRemoved(())),
        ("Exited", Shim, "it ended, and it is not said whether it was started", || M::Exited(None, ())),
        ("Exited, started", Shim, "it was started and ended", || M::Exited(Some(2), ())),
        ("Found created", Shim, "the shim, found again, has it prepared", || M::Found(Found::Created)),
        ("Found running", Shim, "the shim, found again, has it running", || M::Found(Found::Running(2))),
        ("ShimDied", Shim, "the shim is dead", || M::ShimDied(())),
    ]
};

/// Ways to a [`Life`] that is being ended.
macro_rules! stopping {
    ($life:expr, $remove:expr) => {
        || Container::Stopping { facts: (), life: $life, stop: vec!["stop"], remove: $remove }
    };
}

fn asked(ended: Option<()>) -> Start<Plain> {
    Start::Asked { waiters: vec!["start"], ended }
}

fn container_samples() -> Vec<fn() -> Container<Plain>> {
    vec![
        || Container::Creating { waiters: vec!["create"], ended: None },
        || Container::Creating { waiters: vec!["create"], ended: Some(()) },
        || Container::Created { facts: () },
        || Container::Starting { facts: (), start: asked(None) },
        || Container::Starting { facts: (), start: asked(Some(())) },
        || Container::Starting { facts: (), start: Start::Overdue },
        || Container::Running { facts: (), started_at: 1 },
        || Container::Unknown { facts: (), started_at: None },
        || Container::Unknown { facts: (), started_at: Some(1) },
        stopping!(Life::Prepared, None),
        stopping!(Life::Starting(asked(None)), None),
        stopping!(Life::Starting(asked(Some(()))), None),
        stopping!(Life::Starting(Start::Overdue), None),
        stopping!(Life::Running { started_at: 1 }, None),
        stopping!(Life::Unknown { started_at: None }, None),
        stopping!(Life::Unknown { started_at: Some(1) }, None),
        stopping!(Life::Prepared, Some(vec!["remove"])),
        stopping!(Life::Starting(asked(None)), Some(vec!["remove"])),
        stopping!(Life::Starting(asked(Some(()))), Some(vec!["remove"])),
        stopping!(Life::Starting(Start::Overdue), Some(vec!["remove"])),
        stopping!(Life::Running { started_at: 1 }, Some(vec!["remove"])),
        stopping!(Life::Unknown { started_at: None }, Some(vec!["remove"])),
        stopping!(Life::Unknown { started_at: Some(1) }, Some(vec!["remove"])),
        || Container::Exited { facts: (), started_at: Some(1), exit: () },
        || Container::Removing { facts: (), started_at: Some(1), exit: (), waiters: vec!["remove"] },
        || Container::Gone,
    ]
}

fn container_name(container: &Container<Plain>) -> String {
    match container {
        Container::Creating { ended: None, .. } => "Creating".to_owned(),
        Container::Creating { ended: Some(()), .. } => "Creating, ended".to_owned(),
        Container::Created { .. } => "Created".to_owned(),
        Container::Starting { start, .. } => start_name(start).to_owned(),
        Container::Running { .. } => "Running".to_owned(),
        Container::Unknown { started_at: None, .. } => "Unknown".to_owned(),
        Container::Unknown { started_at: Some(_), .. } => "Unknown, started".to_owned(),
        Container::Stopping { life, remove, .. } => {
            let life = match life {
                Life::Prepared => "Created",
                Life::Starting(start) => start_name(start),
                Life::Running { .. } => "Running",
                Life::Unknown { started_at: None } => "Unknown",
                Life::Unknown { started_at: Some(_) } => "Unknown, started",
            };
            let then = if remove.is_some() { "Removing" } else { "Exited" };
            format!("Stopping ({life}), then {then}")
        }
        Container::Exited { .. } => "Exited".to_owned(),
        Container::Removing { .. } => "Removing".to_owned(),
        Container::Gone => "Gone".to_owned(),
    }
}

fn start_name(start: &Start<Plain>) -> &'static str {
    match start {
        Start::Asked { ended: None, .. } => "Starting",
        Start::Asked { ended: Some(()), .. } => "Starting, ended",
        Start::Overdue => "Starting, overdue",
    }
}

fn container_effect(effect: &container::Effect<Plain>) -> String {
    match effect {
        container::Effect::Answer(who, outcome) => answer(who, outcome),
        container::Effect::Start => "begin the start".to_owned(),
        container::Effect::Stop(_, Ask::Shim) => "end it by the shim".to_owned(),
        container::Effect::Stop(_, Ask::Kernel) => "kill its cgroup".to_owned(),
        container::Effect::Hurry(_) => "end it earlier".to_owned(),
        container::Effect::Ended => "tell the end".to_owned(),
        container::Effect::Remove => "begin the removal".to_owned(),
    }
}

fn answer(who: &str, outcome: &Outcome<()>) -> String {
    let outcome = match outcome {
        Outcome::Done => "done",
        Outcome::Refused(Refused { .. }) => "refused",
        Outcome::Failed(()) => "failed",
    };
    format!("{who}: {outcome}")
}

const SANDBOX: &[Message<sandbox::Message<Plain>>] = {
    use Source::{Call, Shim, Work};
    use sandbox::Message as M;
    &[
        ("Join", Call, "run it again", || M::Join(CALLER)),
        ("Stop", Call, "stop it", || M::Stop(CALLER)),
        ("Remove", Call, "remove it", || M::Remove(CALLER)),
        ("Up", Work, "it is up", || M::Up),
        ("NotUp", Work, "it could not be made; what was made is undone", || M::NotUp(())),
        ("Down", Work, "everything of it ended and was taken down", || M::Down),
        ("NotDown", Work, "a part could not be taken down", || M::NotDown(())),
        ("Settled", Work, "no container of it is being made any more", || M::Settled),
        ("Cleared", Work, "its files and records are removed", || M::Cleared),
        ("NotCleared", Work, "a part of it could not be removed", || M::NotCleared(())),
        ("Died", Shim, "its shim, or its init process, is dead", || M::Died),
    ]
};

fn sandbox_samples() -> Vec<fn() -> Sandbox<Plain>> {
    vec![
        || Sandbox::Starting { run: vec!["run"], asked: None },
        || Sandbox::Starting { run: vec!["run"], asked: Some(ending(None)) },
        || Sandbox::Starting { run: vec!["run"], asked: Some(ending(Some(vec!["remove"]))) },
        || Sandbox::Ready,
        || Sandbox::Stopping { ending: ending(None), stage: Stage::Down },
        || Sandbox::Stopping { ending: ending(None), stage: Stage::Settling },
        || Sandbox::Stopping { ending: ending(Some(vec!["remove"])), stage: Stage::Down },
        || Sandbox::Stopping { ending: ending(Some(vec!["remove"])), stage: Stage::Settling },
        || Sandbox::StopFailed,
        || Sandbox::NotReady,
        || Sandbox::Removing { waiters: vec!["remove"] },
        || Sandbox::Gone,
    ]
}

fn ending(remove: Option<Vec<&'static str>>) -> Ending<Plain> {
    Ending { stop: vec!["stop"], remove }
}

fn sandbox_name(sandbox: &Sandbox<Plain>) -> String {
    let then = |ending: &Ending<Plain>| if ending.remove.is_some() { "Removing" } else { "NotReady" };
    match sandbox {
        Sandbox::Starting { asked: None, .. } => "Starting".to_owned(),
        Sandbox::Starting { asked: Some(ending), .. } => format!("Starting, then {}", then(ending)),
        Sandbox::Ready => "Ready".to_owned(),
        Sandbox::Stopping { ending, stage: Stage::Down } => format!("Stopping, then {}", then(ending)),
        Sandbox::Stopping { ending, stage: Stage::Settling } => format!("Settling, then {}", then(ending)),
        Sandbox::StopFailed => "StopFailed".to_owned(),
        Sandbox::NotReady => "NotReady".to_owned(),
        Sandbox::Removing { .. } => "Removing".to_owned(),
        Sandbox::Gone => "Gone".to_owned(),
    }
}

fn sandbox_effect(effect: &sandbox::Effect<Plain>) -> String {
    match effect {
        sandbox::Effect::Answer(who, outcome) => answer(who, outcome),
        sandbox::Effect::TakeDown => "take it down".to_owned(),
        sandbox::Effect::Settle => "wait for containers".to_owned(),
        sandbox::Effect::Clear => "begin the removal".to_owned(),
    }
}

const POD: &[Message<pod::Message<Plain>>] = {
    use Source::Shim;
    use pod::Message as M;
    &[
        ("Disconnected", Shim, "the connection to the shim ended", || M::Disconnected),
        ("Silent", Shim, "the shim lives and does not answer", || M::Silent),
        ("Connected", Shim, "the shim is connected and reports every container", || M::Connected(Vec::new())),
        ("ShimDied", Shim, "the shim is dead", || M::ShimDied(())),
        ("InitDied", Shim, "the init process of the PID namespace is dead", || M::InitDied),
    ]
};

fn pod_samples() -> Vec<fn() -> Pod<Plain>> {
    fn after(messages: Vec<pod::Message<Plain>>) -> Pod<Plain> {
        let mut pod = Pod::starting("run");
        for message in messages {
            pod.next(message);
        }
        pod
    }
    use pod::Message::{Disconnected, Sandbox as To, ShimDied, Silent};
    use sandbox::Message::{Stop, Up};
    vec![
        || after(vec![]),
        || after(vec![To(Up)]),
        || after(vec![To(Up), Disconnected]),
        || after(vec![To(Up), Disconnected, Silent]),
        || after(vec![To(Up), To(Stop("stop"))]),
        || after(vec![To(Up), Disconnected, To(Stop("stop"))]),
        || after(vec![To(Up), Disconnected, Silent, To(Stop("stop"))]),
        || after(vec![To(Up), ShimDied(())]),
    ]
}

fn pod_name(pod: &Pod<Plain>) -> String {
    let link = match pod.link() {
        Link::Connected => "Connected",
        Link::Lost => "Lost",
        Link::Silent => "Silent",
        Link::Gone => "Gone",
    };
    let sandbox = sandbox_name(pod.sandbox());
    format!("{sandbox} / {link}")
}

fn pod_effect(effect: &pod::Effect<Plain>) -> String {
    match effect {
        pod::Effect::Sandbox(effect) => sandbox_effect(effect),
        pod::Effect::Container(_, effect) => container_effect(effect),
        pod::Effect::Prepare(_) => "prepare a container".to_owned(),
        pod::Effect::Connect => "connect again".to_owned(),
    }
}
