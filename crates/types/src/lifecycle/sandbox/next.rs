//! What follows a message, state by state.

use super::{Effect, Ending, Message, Sandbox, Stage};
use crate::lifecycle::{Kinds, Outcome};

/// The state after a message, and what is to be done.
type Next<K> = (Sandbox<K>, Vec<Effect<K>>);

impl<K: Kinds> Sandbox<K> {
    /// Takes the state after `message`, and tells what is to be done.
    pub fn next(&mut self, message: Message<K>) -> Vec<Effect<K>> {
        let before = std::mem::replace(self, Sandbox::Gone);
        let (after, effects) = match before {
            Sandbox::Starting { run, asked } => starting(run, asked, message),
            Sandbox::Ready => ready(message),
            Sandbox::Stopping { ending, stage } => stopping(ending, stage, message),
            Sandbox::StopFailed => stop_failed(message),
            Sandbox::NotReady => not_ready(message),
            Sandbox::Removing { waiters } => removing(waiters, message),
            Sandbox::Gone => stay(Sandbox::Gone, message),
        };
        *self = after;
        effects
    }
}

impl<K: Kinds> Ending<K> {
    /// One that no caller asked for.
    fn unasked() -> Self {
        Ending { stop: Vec::new(), remove: None }
    }

    /// Takes a caller of Stop or Remove in; gives back any other message.
    fn join(&mut self, message: Message<K>) -> Option<Message<K>> {
        match message {
            Message::Stop(waiter) => self.stop.push(waiter),
            Message::Remove(waiter) => self.remove.get_or_insert_default().push(waiter),
            other => return Some(other),
        }
        None
    }

    fn fail(self, error: &K::Error) -> Vec<Effect<K>> {
        let mut effects = failed(self.stop, error);
        effects.extend(failed(self.remove.unwrap_or_default(), error));
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

/// A message that changes nothing: a call is answered, a report that is out of date is not.
fn stay<K: Kinds>(state: Sandbox<K>, message: Message<K>) -> Next<K> {
    let effects = match message {
        Message::Join(waiter) => match state {
            Sandbox::Ready => done(vec![waiter]),
            Sandbox::Starting { .. }
            | Sandbox::Stopping { .. }
            | Sandbox::StopFailed
            | Sandbox::NotReady
            | Sandbox::Removing { .. }
            | Sandbox::Gone => vec![Effect::Answer(waiter, Outcome::Refused(state.refuse("run")))],
        },
        // Only states in which nothing of it runs come here with a stop, and only what is gone with a removal.
        Message::Stop(waiter) | Message::Remove(waiter) => done(vec![waiter]),
        Message::Up
        | Message::NotUp(_)
        | Message::Died
        | Message::Down
        | Message::NotDown(_)
        | Message::Settled
        | Message::Cleared
        | Message::NotCleared(_) => Vec::new(),
    };
    (state, effects)
}

fn take_down<K: Kinds>(ending: Ending<K>) -> Next<K> {
    (Sandbox::Stopping { ending, stage: Stage::Down }, vec![Effect::TakeDown])
}

fn starting<K: Kinds>(mut run: Vec<K::Waiter>, mut asked: Option<Ending<K>>, message: Message<K>) -> Next<K> {
    match message {
        Message::Join(waiter) => match &asked {
            None => run.push(waiter),
            Some(_) => {
                let state = Sandbox::Starting { run, asked };
                let refused = Outcome::Refused(state.refuse("run"));
                return (state, vec![Effect::Answer(waiter, refused)]);
            }
        },
        Message::Stop(_) | Message::Remove(_) => {
            let mut ending = asked.unwrap_or_else(Ending::unasked);
            let other = ending.join(message);
            debug_assert!(other.is_none(), "both are taken in");
            asked = Some(ending);
        }
        // It is taken down as soon as it is up.
        Message::Died => asked = Some(asked.unwrap_or_else(Ending::unasked)),
        Message::Up => {
            return match asked {
                None => (Sandbox::Ready, done(run)),
                Some(ending) => {
                    let (state, mut effects) = take_down(ending);
                    let refused = state.refuse("run");
                    effects.extend(run.into_iter().map(|w| Effect::Answer(w, Outcome::Refused(refused))));
                    (state, effects)
                }
            };
        }
        Message::NotUp(error) => {
            // Everything was undone, so what was requested in the meantime is done too.
            let mut effects = failed(run, &error);
            let Ending { stop, remove } = asked.unwrap_or_else(Ending::unasked);
            effects.extend(done(stop));
            effects.extend(done(remove.unwrap_or_default()));
            return (Sandbox::Gone, effects);
        }
        other => return stay(Sandbox::Starting { run, asked }, other),
    }
    (Sandbox::Starting { run, asked }, Vec::new())
}

fn ready<K: Kinds>(message: Message<K>) -> Next<K> {
    let mut ending = Ending::unasked();
    match ending.join(message) {
        None | Some(Message::Died) => take_down(ending),
        Some(other) => stay(Sandbox::Ready, other),
    }
}

fn stopping<K: Kinds>(mut ending: Ending<K>, stage: Stage, message: Message<K>) -> Next<K> {
    let Some(message) = ending.join(message) else {
        return (Sandbox::Stopping { ending, stage }, Vec::new());
    };
    match (message, stage) {
        (Message::Down, Stage::Down) => {
            (Sandbox::Stopping { ending, stage: Stage::Settling }, vec![Effect::Settle])
        }
        (Message::Settled, Stage::Settling) => {
            let mut effects = done(ending.stop);
            match ending.remove {
                None => (Sandbox::NotReady, effects),
                Some(waiters) => {
                    effects.push(Effect::Clear);
                    (Sandbox::Removing { waiters }, effects)
                }
            }
        }
        (Message::NotDown(error), Stage::Down | Stage::Settling) => {
            (Sandbox::StopFailed, ending.fail(&error))
        }
        (other, stage) => stay(Sandbox::Stopping { ending, stage }, other),
    }
}

fn stop_failed<K: Kinds>(message: Message<K>) -> Next<K> {
    let mut ending = Ending::unasked();
    match ending.join(message) {
        None => take_down(ending),
        Some(other) => stay(Sandbox::StopFailed, other),
    }
}

fn not_ready<K: Kinds>(message: Message<K>) -> Next<K> {
    match message {
        Message::Remove(waiter) => (Sandbox::Removing { waiters: vec![waiter] }, vec![Effect::Clear]),
        other => stay(Sandbox::NotReady, other),
    }
}

fn removing<K: Kinds>(mut waiters: Vec<K::Waiter>, message: Message<K>) -> Next<K> {
    match message {
        Message::Remove(waiter) => {
            waiters.push(waiter);
            (Sandbox::Removing { waiters }, Vec::new())
        }
        Message::Cleared => (Sandbox::Gone, done(waiters)),
        // Asked again, it is tried again.
        Message::NotCleared(error) => (Sandbox::NotReady, failed(waiters, &error)),
        other => stay(Sandbox::Removing { waiters }, other),
    }
}
