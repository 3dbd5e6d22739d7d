//! One message of each kind, with every field set to something of its own.

use berth_types::shim::{
    Abilities, Answer, Create, Event, Exec, Exit, Failure, FromShim, Known, Phase, PidSpace, Pod, Reason,
    Request, Step, ToShim, record,
};
use berth_types::{ContainerId, ExecId, SandboxId};

fn container() -> ContainerId {
    ContainerId::from_random([0xc1; 32])
}

fn exec() -> ExecId {
    ExecId::from_random([0xe2; 32])
}

fn sandbox() -> SandboxId {
    SandboxId::from_random([0x53; 32])
}

fn exit() -> Exit {
    let message = "killed: out of memory".to_owned();
    Exit { code: 137, signal: Some(9), at: 1_700_000_000_000_000_004, oom_killed: true, message }
}

fn create(pid_space: PidSpace) -> Request {
    Request::Create(Create {
        container: container(),
        plan: vec![1, 0, 255, 128],
        log: Some("/var/log/pods/a/0.log".to_owned()),
        stdin: true,
        stdin_once: false,
        tty: true,
        cgroup_dirs: vec!["/sys/fs/cgroup/a/b".to_owned(), "/sys/fs/cgroup/c".to_owned()],
        pid_space,
    })
}

/// Requests. Their numbers differ in length when they are encoded.
pub(crate) fn requests() -> Vec<(&'static str, ToShim)> {
    let pod = Pod {
        sandbox: sandbox(),
        state_dir: "/run/berth/pods/a".to_owned(),
        namespaces: [true, false, true],
        shared_pid: true,
        cgroup_dirs: vec!["/sys/fs/cgroup/a".to_owned()],
    };
    let asked =
        Exec { exec: exec(), container: container(), plan: vec![1, 0, 7], tty: false, timeout_ms: 3000 };
    let resize = |exec| Request::Resize { container: container(), exec, rows: 24, columns: 300 };
    let all = [
        ("Hello", Request::Hello { version: 1 }),
        ("Pod", Request::Pod(pod.clone())),
        ("Create.space-Plan", create(PidSpace::Plan)),
        ("Create.space-Pod", create(PidSpace::Pod)),
        ("Create.space-Container", create(PidSpace::Container(ContainerId::from_random([0xc2; 32])))),
        ("Start", Request::Start { container: container() }),
        ("Signal", Request::Signal { container: container(), signal: 15, all: true }),
        ("Forget", Request::Forget { container: container() }),
        ("Exec", Request::Exec(asked)),
        ("KillExec", Request::KillExec { exec: exec() }),
        ("ReopenLog", Request::ReopenLog { container: container() }),
        ("Attach", Request::Attach { container: container() }),
        ("Resize.container", resize(None)),
        ("Resize.exec", resize(Some(exec()))),
        ("Shutdown", Request::Shutdown),
        ("PodWithUser", Request::PodWithUser(pod)),
        ("AttachClient", Request::AttachClient { container: container(), stdin: true }),
        ("Begin", Request::Begin { plan: vec![3, 0, 9] }),
        ("Steps", Request::Steps { container: container() }),
    ];
    let numbers = std::iter::successors(Some(5u64), |n| Some(n * 3));
    all.into_iter().zip(numbers).map(|((name, request), number)| (name, ToShim { number, request })).collect()
}

fn known(phase: Phase) -> Known {
    Known { container: container(), pid: 4_194_303, phase }
}

fn hello(phase: Phase) -> Answer {
    Answer::Hello { version: 1, sandbox: Some(sandbox()), containers: vec![known(phase)] }
}

fn welcome() -> Answer {
    Answer::Welcome {
        version: 2,
        plans: vec![1, 300],
        abilities: Abilities::APART.and(Abilities::ENDS_EMPTY),
        sandbox: Some(sandbox()),
        containers: vec![known(Phase::Created)],
    }
}

/// Answers (`ok.`), failures (`failed.`) and events (`event.`).
pub(crate) fn answers() -> Vec<(&'static str, FromShim)> {
    let steps = vec![Step { name: "execve".to_owned(), since: 70_000_000_000, until: 70_000_300_000 }];
    let ok = [
        ("ok.Hello.phase-Created", hello(Phase::Created)),
        ("ok.Hello.phase-Running", hello(Phase::Running { started_at: 1_700_000_000_000_000_001 })),
        ("ok.Hello.phase-Exited", hello(Phase::Exited { started_at: 0, exit: exit() })),
        ("ok.Done", Answer::Done),
        ("ok.Created", Answer::Created { pid: 77 }),
        ("ok.ExecStarted", Answer::ExecStarted { pid: 78 }),
        ("ok.Started", Answer::Started { at: 1_700_000_000_000_000_002 }),
        ("ok.Welcome", welcome()),
        ("ok.Steps", Answer::Steps(steps)),
    ];
    let failed = [
        ("failed.NotFound", Reason::NotFound),
        ("failed.State", Reason::State),
        ("failed.Refused", Reason::Refused),
        ("failed.Protocol", Reason::Protocol),
        ("failed.System", Reason::System),
        ("failed.CommandNotFound", Reason::CommandNotFound),
        ("failed.CommandDenied", Reason::CommandDenied),
    ];
    let events = [
        ("event.Exited", Event::Exited { container: container(), exit: exit() }),
        ("event.ExecExited", Event::ExecExited { exec: exec(), code: 126, timed_out: true }),
        ("event.PodEnded", Event::PodEnded),
        ("event.Note", Event::Note { container: container(), text: "a score was clamped".to_owned() }),
        ("event.Started", Event::Started { container: container(), at: 1_700_000_000_000_000_005 }),
        ("event.Lingers", Event::Lingers { container: container(), text: "1 process".to_owned() }),
    ];
    let failure = |reason| Failure { reason, message: "no: because".to_owned() };
    let answer = |outcome| FromShim::Answer { number: 300, outcome };
    let ok = ok.into_iter().map(|(name, given)| (name, answer(Ok(given))));
    let failed = failed.into_iter().map(|(name, reason)| (name, answer(Err(failure(reason)))));
    ok.chain(failed).chain(events.into_iter().map(|(name, event)| (name, FromShim::Event(event)))).collect()
}

/// The record of a prepared process.
pub(crate) fn started() -> record::Started {
    record::Started { pid: 4711, shim: 4710 }
}

/// The record of an end.
pub(crate) fn exited() -> record::Exited {
    record::Exited { started_at: 1_700_000_000_000_000_003, exit: exit() }
}
