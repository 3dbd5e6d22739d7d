//! How far a container is, as one pure table, and what may be asked of it when.

use berth_types::shim::{Failure, Reason};

/// How far a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its process is being prepared and its log opened, by a thread of its own.
    Preparing,
    /// The same, but it is to end: what was prepared so far is killed.
    Aborting,
    /// Prepared, before its `execve`.
    Created,
    /// Released; its `execve` has not succeeded yet.
    Starting,
    /// Its command runs.
    Running,
    /// The main process is gone; the rest is being killed, the log finished, the record written.
    Ending,
    /// Ended and reported.
    Exited,
}

/// What happens to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StageEvent {
    /// Its process is prepared and its log is open.
    Prepared,
    /// It is to end before it is prepared.
    Aborted,
    /// Its process was released.
    Released,
    /// Its `execve` succeeded.
    Started,
    /// The main process is gone: it ended, could not be started, or was never prepared.
    MainEnded,
    /// Nothing of it is left and everything is on disk.
    Finished,
}

/// What may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Release it.
    Start,
    /// Send a signal.
    Signal,
    /// Forget it.
    Forget,
    /// Run another process in it.
    Exec,
    /// Open its log again.
    ReopenLog,
    /// Join its stdio.
    Attach,
    /// Change its terminal's size.
    Resize,
}

/// How an allowed request is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Do it.
    Do,
    /// End the prepared process.
    End,
    /// It ends, or has ended, already.
    Already,
}

impl Stage {
    /// Every stage, for tests of the whole table.
    #[cfg(test)]
    pub(crate) const ALL: [Stage; 7] = [
        Stage::Preparing,
        Stage::Aborting,
        Stage::Created,
        Stage::Starting,
        Stage::Running,
        Stage::Ending,
        Stage::Exited,
    ];

    /// The stage after an event. Late events change nothing.
    pub(crate) fn after(self, happening: StageEvent) -> Stage {
        match (self, happening) {
            (Stage::Preparing, StageEvent::Prepared) => Stage::Created,
            (Stage::Preparing, StageEvent::Aborted) => Stage::Aborting,
            (Stage::Created, StageEvent::Released) => Stage::Starting,
            (Stage::Starting, StageEvent::Started) => Stage::Running,
            (
                Stage::Preparing | Stage::Aborting | Stage::Created | Stage::Starting | Stage::Running,
                StageEvent::MainEnded,
            ) => Stage::Ending,
            (Stage::Ending, StageEvent::Finished) => Stage::Exited,
            (
                stage,
                StageEvent::Prepared
                | StageEvent::Aborted
                | StageEvent::Released
                | StageEvent::Started
                | StageEvent::MainEnded
                | StageEvent::Finished,
            ) => stage,
        }
    }

    /// Whether its main process may be alive.
    pub(crate) fn is_alive(self) -> bool {
        match self {
            Stage::Preparing | Stage::Aborting | Stage::Created | Stage::Starting | Stage::Running => true,
            Stage::Ending | Stage::Exited => false,
        }
    }

    /// Whether a request is allowed now.
    pub(crate) fn allows(self, ask: Ask) -> Result<Verdict, Failure> {
        match (self, ask) {
            (Stage::Created, Ask::Start | Ask::ReopenLog | Ask::Attach | Ask::Resize)
            | (Stage::Starting, Ask::Signal | Ask::ReopenLog | Ask::Attach | Ask::Resize)
            | (Stage::Running, Ask::Signal | Ask::Exec | Ask::ReopenLog | Ask::Attach | Ask::Resize)
            | (Stage::Exited, Ask::Forget) => Ok(Verdict::Do),
            (Stage::Preparing | Stage::Aborting | Stage::Created, Ask::Signal | Ask::Forget)
            | (Stage::Starting, Ask::Forget) => Ok(Verdict::End),
            (Stage::Ending, Ask::Signal | Ask::Forget) | (Stage::Exited, Ask::Signal) => Ok(Verdict::Already),
            (
                Stage::Preparing
                | Stage::Aborting
                | Stage::Created
                | Stage::Starting
                | Stage::Running
                | Stage::Ending
                | Stage::Exited,
                Ask::Start | Ask::Forget | Ask::Exec | Ask::ReopenLog | Ask::Attach | Ask::Resize,
            ) => Err(Failure {
                reason: Reason::State,
                message: format!("cannot {} a container that is {}", ask.word(), self.word()),
            }),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Stage::Preparing => "being created",
            Stage::Aborting => "being created and ended",
            Stage::Created => "created",
            Stage::Starting => "being started",
            Stage::Running => "running",
            Stage::Ending => "ending",
            Stage::Exited => "exited",
        }
    }
}

impl Ask {
    fn word(self) -> &'static str {
        match self {
            Ask::Start => "start",
            Ask::Signal => "signal",
            Ask::Forget => "forget",
            Ask::Exec => "run a process in",
            Ask::ReopenLog => "reopen the log of",
            Ask::Attach => "attach to",
            Ask::Resize => "resize the terminal of",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_what_happens() {
        use Stage::{Created, Ending, Exited, Preparing, Running, Starting};
        const ALL: [StageEvent; 6] = [
            StageEvent::Prepared,
            StageEvent::Aborted,
            StageEvent::Released,
            StageEvent::Started,
            StageEvent::MainEnded,
            StageEvent::Finished,
        ];
        let aborting = Stage::Aborting;
        let table = [
            (Preparing, [Created, aborting, Preparing, Preparing, Ending, Preparing]),
            (aborting, [aborting, aborting, aborting, aborting, Ending, aborting]),
            (Created, [Created, Created, Starting, Created, Ending, Created]),
            (Starting, [Starting, Starting, Starting, Running, Ending, Starting]),
            (Running, [Running, Running, Running, Running, Ending, Running]),
            (Ending, [Ending, Ending, Ending, Ending, Ending, Exited]),
            (Exited, [Exited; 6]),
        ];
        assert_eq!(table.map(|(stage, _)| stage), Stage::ALL);
        for (stage, row) in table {
            assert_eq!(ALL.map(|happening| stage.after(happening)), row, "{stage:?}");
            let ended = matches!(stage, Ending | Exited);
            assert_eq!(stage.is_alive(), !ended, "{stage:?}");
        }
    }

    #[test]
    fn every_cell_of_what_is_asked() {
        let asks =
            [Ask::Start, Ask::Signal, Ask::Forget, Ask::Exec, Ask::ReopenLog, Ask::Attach, Ask::Resize];
        // Do, End, Already, refused.
        let table = ["-ee----", "-ee----", "dee-ddd", "-de-ddd", "-d-dddd", "-aa----", "-ad----"];
        for (stage, row) in Stage::ALL.into_iter().zip(table) {
            let got: String = asks
                .iter()
                .map(|ask| match stage.allows(*ask) {
                    Ok(Verdict::Do) => 'd',
                    Ok(Verdict::End) => 'e',
                    Ok(Verdict::Already) => 'a',
                    Err(failure) => {
                        assert_eq!(failure.reason, Reason::State);
                        '-'
                    }
                })
                .collect();
            assert_eq!(got, row, "{stage:?}");
        }
    }

    #[test]
    fn a_refusal_names_request_and_stage() {
        let failure = Stage::Running.allows(Ask::Start).unwrap_err();
        assert_eq!(failure.message, "cannot start a container that is running");
    }
}
