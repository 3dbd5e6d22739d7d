//! Messages in any order to a pod with several containers.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::lifecycle::container::tests::random as of_container;
use crate::lifecycle::sandbox::tests as of_sandbox;
use proptest::prelude::*;

const CONTAINERS: u8 = 3;

/// Any message; whether it brings `waiter`.
fn any_message(kind: usize, n: u8, waiter: u32) -> (M, bool) {
    match kind {
        0..34 => {
            let (message, call) = of_container::any_message(kind, waiter);
            (M::Container(id(n), message), call)
        }
        34..45 => {
            let (message, call) = of_sandbox::any_message(kind - 34, waiter);
            (M::Sandbox(message), call)
        }
        45..50 => (M::Create(id(n), waiter, "unreachable"), true),
        50 | 51 => (M::Disconnected, false),
        52 => (M::Silent, false),
        53 => (M::Connected(vec![(id(n), ContainerReport::Lives(Found::Running(1)))]), false),
        54 => (M::Connected(vec![(id(n), ContainerReport::Ended(Some(1), waiter))]), false),
        55 => (M::ShimDied("dead"), false),
        56 => (M::InitDied, false),
        _ => (pod_end(vec![(id(n), None, waiter)]), false),
    }
}

struct Watched {
    pod: P,
    waiting: BTreeSet<u32>,
    ends: BTreeMap<ContainerId, (u32, Option<i64>)>,
    next: u32,
}

impl Watched {
    fn new() -> Self {
        Watched { pod: P::starting(0), waiting: BTreeSet::from([0]), ends: BTreeMap::new(), next: 1 }
    }

    fn tell(&mut self, kind: usize, n: u8) -> Result<(), TestCaseError> {
        let waiter = self.next;
        self.next += 1;
        let (message, call) = any_message(kind, n, waiter);
        if call {
            self.waiting.insert(waiter);
        }
        let parts = |pod: &P| (format!("{:?}", pod.sandbox()), format!("{:?}", pod.containers()));
        let (disconnected, died) = (matches!(message, M::Disconnected), matches!(message, M::ShimDied(_)));
        let going_down = matches!(self.pod.sandbox(), Sandbox::Stopping { stage: Stage::Down, .. });
        let down = going_down && matches!(message, M::Down(_));
        let ready = matches!(self.pod.sandbox(), Sandbox::Ready);
        let before = parts(&self.pod);
        let effects = self.pod.next(message);
        for (who, _) in answers(&effects) {
            prop_assert!(self.waiting.remove(&who), "{} answered twice", who);
        }
        self.count_ends(&effects)?;
        let mut held = of_sandbox::held(self.pod.sandbox());
        held.extend(self.pod.containers().values().flat_map(|container| of_container::held(container)));
        prop_assert_eq!(held.into_iter().collect::<BTreeSet<_>>(), self.waiting.clone());
        if disconnected {
            prop_assert_eq!(parts(&self.pod), before);
        }
        if died {
            prop_assert_eq!(self.pod.link(), Link::Gone);
            let falls = matches!(self.pod.sandbox(), Sandbox::Stopping { stage: Stage::Down, .. });
            prop_assert!(!ready || falls);
        }
        if down {
            prop_assert!(!self.pod.any(Container::may_live));
        }
        self.consistent()
    }

    /// An end is told once, and stays as it was told.
    fn count_ends(&mut self, effects: &[Effect<Numbers>]) -> Result<(), TestCaseError> {
        for effect in effects {
            if let Effect::Container(id, container::Effect::Ended) = effect {
                prop_assert!(!self.ends.contains_key(id), "its end was told before");
            }
        }
        let containers = self.pod.containers();
        self.ends.retain(|id, _| containers.contains_key(id));
        for (id, container) in containers {
            if let Some(exit) = container.exit() {
                let end = (*exit, container.started_at());
                prop_assert_eq!(*self.ends.entry(id.clone()).or_insert(end), end);
            }
        }
        Ok(())
    }

    fn consistent(&self) -> Result<(), TestCaseError> {
        let creating = self.pod.any(|c| matches!(c, Container::Creating { .. }));
        match self.pod.sandbox() {
            Sandbox::Stopping { stage: Stage::Settling, .. } => prop_assert!(creating),
            Sandbox::NotReady | Sandbox::Removing { .. } => {
                prop_assert!(!creating && !self.pod.any(Container::may_live));
                prop_assert_eq!(self.pod.link(), Link::Gone);
            }
            Sandbox::Gone => {
                prop_assert!(self.pod.containers().is_empty());
                prop_assert!(self.waiting.is_empty());
            }
            Sandbox::Starting { .. } => prop_assert!(self.pod.containers().is_empty()),
            Sandbox::Ready | Sandbox::Stopping { stage: Stage::Down, .. } | Sandbox::StopFailed => {}
        }
        prop_assert!(!self.pod.any(|c| matches!(c, Container::Gone)));
        Ok(())
    }

    /// What is in flight reports, the pod is removed, and every caller has been answered.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        let (up, stop, remove, cleared, down, prepared) = (37, 35, 36, 43, 57, 4);
        for kind in [up, stop, down] {
            self.tell(kind, 0)?;
        }
        for n in 0..CONTAINERS {
            self.tell(prepared, n)?;
        }
        let stopped =
            matches!(self.pod.sandbox(), Sandbox::NotReady | Sandbox::Removing { .. } | Sandbox::Gone);
        prop_assert!(stopped);
        self.tell(remove, 0)?;
        self.tell(cleared, 0)?;
        prop_assert!(matches!(self.pod.sandbox(), Sandbox::Gone));
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_order_keeps_the_promises(
        up in any::<bool>(),
        steps in prop::collection::vec((0..59_usize, 0..CONTAINERS), 0..120),
    ) {
        let mut watched = Watched::new();
        if up {
            watched.tell(37, 0)?;
        }
        for (kind, n) in steps {
            watched.tell(kind, n)?;
        }
        watched.finish()?;
    }
}
