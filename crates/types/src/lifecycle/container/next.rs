//! What follows a message, state by state.

use std::time::Duration;

use super::{Ask, Container, Effect, Found, Life, Message, Start};
use crate::lifecycle::{Kinds, Outcome};

/// The state after a message, and what is to be done.
type Next<K> = (Container<K>, Vec<Effect<K>>);

impl<K: Kinds> Container<K> {
    /// Takes the state after `message`, and tells what is to be done.
    pub fn next(&mut self, message: Message<K>) -> Vec<Effect<K>> {
        let before = std::mem::replace(self, Container::Gone);
        let (after, effects) = match before {
            Container::Creating { waiters, ended } => creating(waiters, ended, message),
            Container::Created { facts } => created(facts, message),
            Container::Starting { facts, start } => starting(facts, start, message),
            Container::Running { facts, started_at } => running(facts, started_at, message),
            Container::Stopping { facts, life, stop, remove } => {
                stopping(Stopping { facts, life, stop, remove }, message)
            }
            Container::Unknown { facts, started_at } => unknown(facts, started_at, message),
            Container::Exited { facts, started_at, exit } => exited(facts, started_at, exit, message),
            Container::Removing { facts, started_at, exit, waiters } => {
                removing(facts, started_at, exit, waiters, message)
            }
            Container::Gone => (Container::Gone, answer_late(&Container::Gone, message)),
        };
        *self = after;
        effects
    }
}

fn done<K: Kinds>(waiters: Vec<K::Waiter>) -> Vec<Effect<K>> {
    waiters.into_iter().map(|waiter| Effect::Answer(waiter, Outcome::Done)).collect()
}

fn failed<K: Kinds>(waiters: Vec<K::Waiter>, error: &K::Error) -> Vec<Effect<K>> {
    let answer = |waiter| Effect::Answer(waiter, Outcome::Failed(error.clone()));
    waiters.into_iter().map(answer).collect()
}

fn refuse<K: Kinds>(state: &Container<K>, waiter: K::Waiter, event: &'static str) -> Vec<Effect<K>> {
    vec![Effect::Answer(waiter, Outcome::Refused(state.refuse(event)))]
}

/// Answers to what changes nothing: a call for what is so already, or one that the state does not allow. A report
/// that is out of date has no answer.
fn answer_late<K: Kinds>(state: &Container<K>, message: Message<K>) -> Vec<Effect<K>> {
    let ended = matches!(state, Container::Exited { .. } | Container::Removing { .. } | Container::Gone);
    match message {
        Message::Join(waiter) => match state {
            Container::Removing { .. } | Container::Gone | Container::Stopping { remove: Some(_), .. } => {
                refuse(state, waiter, "create again")
            }
            Container::Creating { .. }
            | Container::Created { .. }
            | Container::Starting { .. }
            | Container::Running { .. }
            | Container::Stopping { remove: None, .. }
            | Container::Unknown { .. }
            | Container::Exited { .. } => done(vec![waiter]),
        },
        Message::Stop(_, waiter) if ended => done(vec![waiter]),
        Message::Remove(waiter) if matches!(state, Container::Gone) => done(vec![waiter]),
        Message::Start(waiter) => refuse(state, waiter, "start"),
        Message::Stop(_, waiter) => refuse(state, waiter, "stop"),
        Message::Remove(waiter) => refuse(state, waiter, "remove"),
        Message::Prepared(..)
        | Message::NotPrepared(_)
        | Message::Started(_)
        | Message::NotStarted(..)
        | Message::StartOverdue(_)
        | Message::NotStopped(_)
        | Message::Exited(..)
        | Message::Removed
        | Message::NotRemoved(_)
        | Message::Found(_)
        | Message::ShimDied(_) => Vec::new(),
    }
}

fn stay<K: Kinds>(state: Container<K>, message: Message<K>) -> Next<K> {
    let effects = answer_late(&state, message);
    (state, effects)
}

/// The container has ended with nothing that follows.
fn end<K: Kinds>(facts: K::Facts, started_at: Option<i64>, exit: K::Exit) -> Next<K> {
    (Container::Exited { facts, started_at, exit }, vec![Effect::Ended])
}

/// A stop or removal begins.
fn begin_stop<K: Kinds>(facts: K::Facts, life: Life<K>, message: Message<K>) -> Option<Next<K>> {
    let ask = if matches!(life, Life::Unknown { .. }) { Ask::Kernel } else { Ask::Shim };
    // What never ran has no program that could be asked to end.
    let most = if matches!(life, Life::Prepared) { Duration::ZERO } else { Duration::MAX };
    let (grace, stop, remove) = match message {
        Message::Stop(grace, waiter) => (grace.min(most), vec![waiter], None),
        Message::Remove(waiter) => (Duration::ZERO, Vec::new(), Some(vec![waiter])),
        _ => return None,
    };
    Some((Container::Stopping { facts, life, stop, remove }, vec![Effect::Stop(grace, ask)]))
}

/// Whether [`begin_stop`] takes it.
fn stops<K: Kinds>(message: &Message<K>) -> bool {
    matches!(message, Message::Stop(..) | Message::Remove(_))
}

fn creating<K: Kinds>(mut waiters: Vec<K::Waiter>, ended: Option<K::Exit>, message: Message<K>) -> Next<K> {
    match message {
        Message::Join(waiter) => {
            waiters.push(waiter);
            (Container::Creating { waiters, ended }, Vec::new())
        }
        Message::Prepared(facts, outcome) => {
            let (state, mut effects) = match ended {
                Some(exit) => end(facts, None, exit),
                None => (Container::Created { facts }, Vec::new()),
            };
            effects.extend(waiters.into_iter().map(|waiter| Effect::Answer(waiter, outcome.clone())));
            (state, effects)
        }
        Message::NotPrepared(error) => (Container::Gone, failed(waiters, &error)),
        Message::Exited(_, exit) => {
            (Container::Creating { waiters, ended: ended.or(Some(exit)) }, Vec::new())
        }
        // No caller knows its id yet, so these are refused.
        other => stay(Container::Creating { waiters, ended }, other),
    }
}

fn created<K: Kinds>(facts: K::Facts, message: Message<K>) -> Next<K> {
    match message {
        Message::Start(waiter) => {
            let start = Start::Asked { waiters: vec![waiter], ended: None };
            (Container::Starting { facts, start }, vec![Effect::Start])
        }
        Message::Exited(started_at, exit) => end(facts, started_at, exit),
        Message::NotStarted(_, exit) => end(facts, None, exit),
        Message::Found(Found::Running(at)) | Message::Started(at) => {
            (Container::Running { facts, started_at: at }, Vec::new())
        }
        Message::ShimDied(_) => (Container::Unknown { facts, started_at: None }, Vec::new()),
        other if stops(&other) => begin_stop(facts, Life::Prepared, other).expect("it stops"),
        other => stay(Container::Created { facts }, other),
    }
}

fn starting<K: Kinds>(facts: K::Facts, start: Start<K>, message: Message<K>) -> Next<K> {
    let life = match message {
        message if stops(&message) => {
            return begin_stop(facts, Life::Starting(start), message).expect("it stops");
        }
        message => advance(start, message),
    };
    match life {
        Advanced::Ended { started_at, exit, answers } => {
            let (state, mut effects) = end(facts, started_at, exit);
            effects.extend(answers);
            (state, effects)
        }
        Advanced::Lives(Life::Prepared, effects) => (Container::Created { facts }, effects),
        Advanced::Lives(Life::Starting(start), effects) => (Container::Starting { facts, start }, effects),
        Advanced::Lives(Life::Running { started_at }, effects) => {
            (Container::Running { facts, started_at }, effects)
        }
        Advanced::Lives(Life::Unknown { started_at }, effects) => {
            (Container::Unknown { facts, started_at }, effects)
        }
        Advanced::Same(start, message) => stay(Container::Starting { facts, start }, message),
    }
}

/// The outcome of a start in flight.
enum Advanced<K: Kinds> {
    /// The container has ended.
    Ended { started_at: Option<i64>, exit: K::Exit, answers: Vec<Effect<K>> },
    /// It goes on so.
    Lives(Life<K>, Vec<Effect<K>>),
    /// The message is not about the start.
    Same(Start<K>, Message<K>),
}

fn advance<K: Kinds>(start: Start<K>, message: Message<K>) -> Advanced<K> {
    let lives = |life, effects| Advanced::Lives(life, effects);
    let (mut waiters, ended, overdue) = match start {
        Start::Asked { waiters, ended } => (waiters, ended, false),
        Start::Overdue => (Vec::new(), None, true),
    };
    match message {
        Message::Start(waiter) => {
            waiters.push(waiter);
            let effects = if overdue { vec![Effect::Start] } else { Vec::new() };
            lives(Life::Starting(Start::Asked { waiters, ended }), effects)
        }
        Message::Started(at) | Message::Found(Found::Running(at)) => match ended {
            Some(exit) => Advanced::Ended { started_at: Some(at), exit, answers: done(waiters) },
            None => lives(Life::Running { started_at: at }, done(waiters)),
        },
        Message::NotStarted(error, exit) => {
            let exit = ended.unwrap_or(exit);
            Advanced::Ended { started_at: None, exit, answers: failed(waiters, &error) }
        }
        Message::StartOverdue(error) if !overdue => match ended {
            Some(exit) => Advanced::Ended { started_at: None, exit, answers: failed(waiters, &error) },
            None => lives(Life::Starting(Start::Overdue), failed(waiters, &error)),
        },
        Message::Exited(started_at, exit) if overdue || started_at.is_some() => {
            let exit = ended.unwrap_or(exit);
            Advanced::Ended { started_at, exit, answers: done(waiters) }
        }
        // The answer to the start says what kind of end it is.
        Message::Exited(None, exit) => {
            let ended = ended.or(Some(exit));
            lives(Life::Starting(Start::Asked { waiters, ended }), Vec::new())
        }
        // The start did not reach the shim.
        Message::Found(Found::Created) if overdue => lives(Life::Prepared, Vec::new()),
        Message::ShimDied(error) => match ended {
            Some(exit) => Advanced::Ended { started_at: None, exit, answers: failed(waiters, &error) },
            None => lives(Life::Unknown { started_at: None }, failed(waiters, &error)),
        },
        other => {
            let start = if overdue { Start::Overdue } else { Start::Asked { waiters, ended } };
            Advanced::Same(start, other)
        }
    }
}

fn running<K: Kinds>(facts: K::Facts, started_at: i64, message: Message<K>) -> Next<K> {
    match message {
        Message::Exited(_, exit) => end(facts, Some(started_at), exit),
        Message::ShimDied(_) => (Container::Unknown { facts, started_at: Some(started_at) }, Vec::new()),
        other if stops(&other) => begin_stop(facts, Life::Running { started_at }, other).expect("it stops"),
        other => stay(Container::Running { facts, started_at }, other),
    }
}

struct Stopping<K: Kinds> {
    facts: K::Facts,
    life: Life<K>,
    stop: Vec<K::Waiter>,
    remove: Option<Vec<K::Waiter>>,
}

impl<K: Kinds> Stopping<K> {
    fn with(self, effects: Vec<Effect<K>>) -> Next<K> {
        let Stopping { facts, life, stop, remove } = self;
        (Container::Stopping { facts, life, stop, remove }, effects)
    }

    /// It has ended: it stays to be inspected, or its removal begins.
    fn end(self, started_at: Option<i64>, exit: K::Exit, mut effects: Vec<Effect<K>>) -> Next<K> {
        effects.push(Effect::Ended);
        effects.extend(done(self.stop));
        let facts = self.facts;
        match self.remove {
            None => (Container::Exited { facts, started_at, exit }, effects),
            Some(waiters) => {
                effects.push(Effect::Remove);
                (Container::Removing { facts, started_at, exit, waiters }, effects)
            }
        }
    }
}

fn stopping<K: Kinds>(mut now: Stopping<K>, message: Message<K>) -> Next<K> {
    match (message, now.life) {
        (Message::Stop(grace, waiter), life) => {
            now.life = life;
            now.stop.push(waiter);
            now.with(vec![Effect::Hurry(grace)])
        }
        (Message::Remove(waiter), life) => {
            now.life = life;
            now.remove.get_or_insert_default().push(waiter);
            now.with(vec![Effect::Hurry(Duration::ZERO)])
        }
        (Message::NotStopped(error), life) => {
            let mut effects = failed(now.stop, &error);
            effects.extend(failed(now.remove.unwrap_or_default(), &error));
            (lives(now.facts, life), effects)
        }
        (Message::Start(waiter), life) => {
            now.life = life;
            let (state, mut effects) = now.with(Vec::new());
            effects.extend(refuse(&state, waiter, "start"));
            (state, effects)
        }
        (message, Life::Starting(start)) => match advance(start, message) {
            Advanced::Ended { started_at, exit, answers } => {
                now.life = Life::Prepared;
                now.end(started_at, exit, answers)
            }
            Advanced::Lives(life, effects) => {
                now.life = life;
                now.with(effects)
            }
            Advanced::Same(start, message) => {
                now.life = Life::Starting(start);
                let (state, _) = now.with(Vec::new());
                stay(state, message)
            }
        },
        (message, life) => {
            now.life = life;
            told(now, message)
        }
    }
}

/// What is said of one that is being ended while no start is in flight.
fn told<K: Kinds>(mut now: Stopping<K>, message: Message<K>) -> Next<K> {
    match (message, now.life) {
        (Message::Exited(told, exit), life) => {
            let started_at = match life {
                Life::Running { started_at } => Some(started_at),
                Life::Unknown { started_at } => told.or(started_at),
                Life::Prepared | Life::Starting(_) => told,
            };
            now.life = Life::Prepared;
            now.end(started_at, exit, Vec::new())
        }
        // The late answer to a start.
        (Message::NotStarted(_, exit), Life::Prepared | Life::Unknown { started_at: None }) => {
            now.life = Life::Prepared;
            now.end(None, exit, Vec::new())
        }
        (Message::ShimDied(_), life) => {
            let started_at = match life {
                Life::Running { started_at } => Some(started_at),
                Life::Unknown { started_at } => started_at,
                Life::Prepared | Life::Starting(_) => None,
            };
            now.life = Life::Unknown { started_at };
            now.with(Vec::new())
        }
        (Message::Found(Found::Created), Life::Unknown { .. }) => {
            now.life = Life::Prepared;
            now.with(Vec::new())
        }
        (
            Message::Found(Found::Running(at)) | Message::Started(at),
            Life::Unknown { .. } | Life::Prepared,
        ) => {
            now.life = Life::Running { started_at: at };
            now.with(Vec::new())
        }
        (other, life) => {
            now.life = life;
            let (state, _) = now.with(Vec::new());
            stay(state, other)
        }
    }
}

/// What could not be killed keeps its state.
fn lives<K: Kinds>(facts: K::Facts, life: Life<K>) -> Container<K> {
    match life {
        Life::Prepared => Container::Created { facts },
        Life::Starting(start) => Container::Starting { facts, start },
        Life::Running { started_at } => Container::Running { facts, started_at },
        Life::Unknown { started_at } => Container::Unknown { facts, started_at },
    }
}

fn unknown<K: Kinds>(facts: K::Facts, started_at: Option<i64>, message: Message<K>) -> Next<K> {
    match message {
        Message::Found(Found::Created) => (Container::Created { facts }, Vec::new()),
        Message::Found(Found::Running(at)) | Message::Started(at) => {
            (Container::Running { facts, started_at: at }, Vec::new())
        }
        Message::Exited(told, exit) => end(facts, told.or(started_at), exit),
        Message::NotStarted(_, exit) if started_at.is_none() => end(facts, None, exit),
        other if stops(&other) => begin_stop(facts, Life::Unknown { started_at }, other).expect("it stops"),
        other => stay(Container::Unknown { facts, started_at }, other),
    }
}

fn exited<K: Kinds>(facts: K::Facts, started_at: Option<i64>, exit: K::Exit, message: Message<K>) -> Next<K> {
    match message {
        Message::Remove(waiter) => {
            let waiters = vec![waiter];
            (Container::Removing { facts, started_at, exit, waiters }, vec![Effect::Remove])
        }
        // An end that was reported never changes.
        other => stay(Container::Exited { facts, started_at, exit }, other),
    }
}

fn removing<K: Kinds>(
    facts: K::Facts,
    started_at: Option<i64>,
    exit: K::Exit,
    mut waiters: Vec<K::Waiter>,
    message: Message<K>,
) -> Next<K> {
    match message {
        Message::Remove(waiter) => {
            waiters.push(waiter);
            (Container::Removing { facts, started_at, exit, waiters }, Vec::new())
        }
        Message::Removed => (Container::Gone, done(waiters)),
        // Asked again, it is tried again.
        Message::NotRemoved(error) => {
            (Container::Exited { facts, started_at, exit }, failed(waiters, &error))
        }
        other => stay(Container::Removing { facts, started_at, exit, waiters }, other),
    }
}
