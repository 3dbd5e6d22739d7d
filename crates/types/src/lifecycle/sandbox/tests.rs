use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::lifecycle::table;
use crate::lifecycle::tests::{Numbers, compare};

const NAMES: &[(&str, &str)] = &[
    ("Up", "Starting"),
    ("UpN", "Starting, then NotReady"),
    ("UpR", "Starting, then Removing"),
    ("Ready", "Ready"),
    ("DnN", "Stopping, then NotReady"),
    ("SeN", "Settling, then NotReady"),
    ("DnR", "Stopping, then Removing"),
    ("SeR", "Settling, then Removing"),
    ("Half", "StopFailed"),
    ("Not", "NotReady"),
    ("Rm", "Removing"),
    ("Go", "Gone"),
];

const CODES: &[(&str, &str)] = &[
    ("T", "take it down"),
    ("W", "wait for containers"),
    ("R", "begin the removal"),
    ("u", "run"),
    ("p", "stop"),
    ("r", "remove"),
    ("x", "caller"),
];

/// What is asked for: Join, Stop, Remove.
/// What work reports: Up, NotUp, Down, NotDown, Settled, Cleared, NotCleared. What the shim says: Died.
const SETTLED: &str = "
Up    | =:w  UpN:w   UpR:w   | Ready:u+ Go:u-       .     .          .        .     .      | UpN
UpN   | =:x! =:w     UpR:w   | DnN:T,u! Go:u-,p+    .     .          .        .     .      | .
UpR   | =:x! =:w     =:w     | DnR:T,u! Go:u-,p+,r+ .     .          .        .     .      | .
Ready | =:x+ DnN:T,w DnR:T,w | .        .           .     .          .        .     .      | DnN:T
DnN   | =:x! =:w     DnR:w   | .        .           SeN:W Half:p-    .        .     .      | .
SeN   | =:x! =:w     SeR:w   | .        .           .     Half:p-    Not:p+   .     .      | .
DnR   | =:x! =:w     =:w     | .        .           SeR:W Half:p-,r- .        .     .      | .
SeR   | =:x! =:w     =:w     | .        .           .     Half:p-,r- Rm:R,p+  .     .      | .
Half  | =:x! DnN:T,w DnR:T,w | .        .           .     .          .        .     .      | .
Not   | =:x! =:x+    Rm:R,w  | .        .           .     .          .        .     .      | .
Rm    | =:x! =:x+    =:w     | .        .           .     .          .        Go:r+ Not:r- | .
Go    | =:x! =:x+    =:x+    | .        .           .     .          .        .     .      | .
";

#[test]
fn every_cell_is_as_settled() {
    compare(&table::sandbox(), SETTLED, NAMES, CODES);
}

#[test]
fn every_state_is_in_the_table() {
    let table = table::sandbox();
    for state in State::ALL {
        let name = format!("{state:?}").replace("{ then: ", "(then ").replace(" }", ")");
        assert!(table.rows.iter().any(|row| row.state == name), "{name}");
    }
}

type S = Sandbox<Numbers>;
type M = Message<Numbers>;

#[test]
fn a_refusal_reads_as_a_sentence() {
    let mut sandbox = S::starting(1);
    sandbox.next(M::Stop(2));
    let effects = sandbox.next(M::Up);
    let refused = effects.iter().find_map(|effect| match effect {
        Effect::Answer(1, Outcome::Refused(refused)) => Some(refused.to_string()),
        _ => None,
    });
    assert_eq!(refused.as_deref(), Some("cannot run a pod sandbox that is stopping"));
}

/// Who waits in a sandbox.
pub(crate) fn held(sandbox: &S) -> Vec<u32> {
    let ending = |ending: &Ending<Numbers>| {
        let mut all = ending.stop.clone();
        all.extend(ending.remove.iter().flatten());
        all
    };
    match sandbox {
        Sandbox::Starting { run, asked } => {
            let mut all = run.clone();
            all.extend(asked.iter().flat_map(ending));
            all
        }
        Sandbox::Stopping { ending: waiting, .. } => ending(waiting),
        Sandbox::Removing { waiters } => waiters.clone(),
        Sandbox::Ready | Sandbox::StopFailed | Sandbox::NotReady | Sandbox::Gone => Vec::new(),
    }
}

/// Any message; a call brings `waiter`.
pub(crate) fn any_message(kind: usize, waiter: u32) -> (M, bool) {
    match kind % 11 {
        0 => (M::Join(waiter), true),
        1 => (M::Stop(waiter), true),
        2 => (M::Remove(waiter), true),
        3 => (M::Up, false),
        4 => (M::NotUp("error"), false),
        5 => (M::Died, false),
        6 => (M::Down, false),
        7 => (M::NotDown("error"), false),
        8 => (M::Settled, false),
        9 => (M::Cleared, false),
        _ => (M::NotCleared("error"), false),
    }
}

proptest! {
    /// In whatever order: no caller is forgotten or answered twice, each work begins when the one before has
    /// reported, and a removal that is asked for again in the end leads to Gone.
    #[test]
    fn any_order_keeps_the_promises(kinds in prop::collection::vec(0..11_usize, 0..60)) {
        let mut sandbox = S::starting(0);
        let mut waiting = BTreeSet::from([0]);
        let ending = [3, 2, 6, 8, 9];
        for (at, kind) in kinds.into_iter().chain(ending).enumerate() {
            let waiter = u32::try_from(at + 1).unwrap();
            let (message, call) = any_message(kind, waiter);
            if call {
                waiting.insert(waiter);
            }
            let before = sandbox.state();
            for effect in sandbox.next(message) {
                match effect {
                    Effect::Answer(waiter, _) => prop_assert!(waiting.remove(&waiter), "{waiter} answered twice"),
                    Effect::TakeDown => {
                        prop_assert!(!matches!(before, State::Stopping { .. }), "it is in flight");
                        let down = matches!(sandbox, Sandbox::Stopping { stage: Stage::Down, .. });
                        prop_assert!(down);
                    }
                    Effect::Settle => {
                        let settling = matches!(sandbox, Sandbox::Stopping { stage: Stage::Settling, .. });
                        prop_assert!(settling);
                    }
                    Effect::Clear => {
                        prop_assert!(before != State::Removing);
                        prop_assert_eq!(sandbox.state(), State::Removing);
                    }
                }
            }
            prop_assert_eq!(held(&sandbox).into_iter().collect::<BTreeSet<_>>(), waiting.clone());
            prop_assert!(before != State::Gone || sandbox.state() == State::Gone);
        }
        prop_assert_eq!(sandbox.state(), State::Gone);
        prop_assert!(waiting.is_empty());
    }
}
