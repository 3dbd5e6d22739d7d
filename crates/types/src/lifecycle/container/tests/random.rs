//! Messages in any order, and a faithful world in which every effect is carried out.

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

/// Who waits in a container.
pub(crate) fn held(container: &C) -> Vec<u32> {
    let started = |start: &Start<Numbers>| match start {
        Start::Asked { waiters, .. } => waiters.clone(),
        Start::Overdue => Vec::new(),
    };
    match container {
        Container::Creating { waiters, .. } | Container::Removing { waiters, .. } => waiters.clone(),
        Container::Starting { start, .. } => started(start),
        Container::Stopping { life, stop, remove, .. } => {
            let mut all = stop.clone();
            all.extend(remove.iter().flatten());
            match life {
                Life::Starting(start) => all.extend(started(start)),
                Life::Prepared | Life::Running { .. } | Life::Unknown { .. } => {}
            }
            all
        }
        Container::Created { .. }
        | Container::Running { .. }
        | Container::Unknown { .. }
        | Container::Exited { .. }
        | Container::Gone => Vec::new(),
    }
}

/// Any message; a call brings `waiter`.
pub(crate) fn any_message(kind: usize, waiter: u32) -> (M, bool) {
    let at = i64::from(waiter);
    match kind % 17 {
        0 => (M::Join(waiter), true),
        1 => (M::Start(waiter), true),
        2 => (M::Stop(Duration::from_secs(1), waiter), true),
        3 => (M::Remove(waiter), true),
        4 => (M::Prepared("facts", Outcome::Done), false),
        5 => (M::NotPrepared("error"), false),
        6 => (M::Started(at), false),
        7 => (M::NotStarted("error", waiter), false),
        8 => (M::StartOverdue("error"), false),
        9 => (M::NotStopped("error"), false),
        10 => (M::Exited(None, waiter), false),
        11 => (M::Exited(Some(at), waiter), false),
        12 => (M::Removed, false),
        13 => (M::NotRemoved("error"), false),
        14 => (M::Found(Found::Created), false),
        15 => (M::Found(Found::Running(at)), false),
        _ => (M::ShimDied("error"), false),
    }
}

proptest! {
    /// In whatever order: no caller is forgotten or answered twice, an end is told once and never changes, and only
    /// who knows of the end makes a container exited.
    #[test]
    fn any_order_keeps_the_promises(kinds in prop::collection::vec(0..17_usize, 0..60)) {
        let mut container = C::creating(0);
        let mut waiting = BTreeSet::from([0]);
        let mut ends = 0;
        let mut heard_of_end = false;
        for (at, kind) in kinds.into_iter().enumerate() {
            let (message, call) = any_message(kind, u32::try_from(at + 1).unwrap());
            if call {
                waiting.insert(u32::try_from(at + 1).unwrap());
            }
            heard_of_end |= matches!(message, M::Exited(..) | M::NotStarted(..));
            let end = container.exit().map(|exit| (*exit, container.started_at()));
            let was_gone = matches!(container, Container::Gone);
            for effect in container.next(message) {
                match effect {
                    Effect::Answer(waiter, _) => prop_assert!(waiting.remove(&waiter), "{waiter} answered twice"),
                    Effect::Ended => ends += 1,
                    Effect::Start | Effect::Stop(..) | Effect::Hurry(_) | Effect::Remove => {}
                }
            }
            prop_assert_eq!(held(&container).into_iter().collect::<BTreeSet<_>>(), waiting.clone());
            let now = container.exit().map(|exit| (*exit, container.started_at()));
            match (end, now) {
                (Some(end), Some(now)) => prop_assert_eq!(end, now),
                (Some(_), None) => prop_assert!(matches!(container, Container::Gone)),
                (None, Some(_)) => prop_assert!(heard_of_end),
                (None, None) => {}
            }
            prop_assert!(!was_gone || matches!(container, Container::Gone));
            prop_assert_eq!(ends, i32::from(now.is_some() || end.is_some() || ends > 0));
            prop_assert!(!matches!(container, Container::Gone) || waiting.is_empty());
        }
    }

    /// With work that reports and a shim that does not lie, one work of a kind is in flight at a time, what is called
    /// exited is dead, and whatever came before, a removal leads to Gone with every caller answered.
    #[test]
    fn every_container_can_be_removed(steps in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut world = World::new();
        for step in steps {
            world.step(step)?;
        }
        for _ in 0..20 {
            world.call(3)?;
            world.settle()?;
        }
        prop_assert!(matches!(world.container, Container::Gone), "{:?}", world.container);
        prop_assert!(world.waiting.is_empty());
    }
}

/// The work that is in flight, and what is so.
#[derive(Debug)]
struct World {
    container: C,
    waiting: BTreeSet<u32>,
    next: u32,
    preparing: bool,
    starting: bool,
    stopping: bool,
    removing: bool,
    prepared: bool,
    ran: Option<i64>,
    lives: bool,
    told: bool,
}

impl World {
    fn new() -> Self {
        World {
            container: C::creating(0),
            waiting: BTreeSet::from([0]),
            next: 1,
            preparing: true,
            starting: false,
            stopping: false,
            removing: false,
            prepared: false,
            ran: None,
            lives: false,
            told: false,
        }
    }

    fn tell(&mut self, message: M) -> Result<(), TestCaseError> {
        for effect in self.container.next(message) {
            let begun = match effect {
                Effect::Answer(waiter, _) => {
                    prop_assert!(self.waiting.remove(&waiter));
                    continue;
                }
                Effect::Start => &mut self.starting,
                Effect::Stop(..) => &mut self.stopping,
                Effect::Remove => &mut self.removing,
                Effect::Hurry(_) => {
                    prop_assert!(self.stopping, "only what is being stopped can be hurried");
                    continue;
                }
                // What stops it is cancelled.
                Effect::Ended => {
                    self.stopping = false;
                    continue;
                }
            };
            prop_assert!(!*begun, "it is in flight");
            *begun = true;
        }
        prop_assert!(!(self.lives && self.container.exit().is_some()), "called exited while it lives");
        Ok(())
    }

    fn call(&mut self, kind: usize) -> Result<(), TestCaseError> {
        let waiter = self.next;
        self.next += 1;
        self.waiting.insert(waiter);
        self.tell(any_message(kind, waiter).0)
    }

    /// The process ends, and the shim says so unless the word is lost.
    fn die(&mut self, tells: bool) -> Result<(), TestCaseError> {
        if self.lives {
            self.lives = false;
            if tells {
                self.word()?;
            }
        }
        Ok(())
    }

    /// The shim says what it knows.
    fn word(&mut self) -> Result<(), TestCaseError> {
        match (self.prepared, self.lives, self.ran) {
            (false, _, _) => Ok(()),
            (true, true, None) => self.tell(M::Found(Found::Created)),
            (true, true, Some(at)) => self.tell(M::Found(Found::Running(at))),
            (true, false, ran) => {
                self.told = true;
                self.tell(M::Exited(ran, 1))
            }
        }
    }

    fn step(&mut self, step: u8) -> Result<(), TestCaseError> {
        let (kind, luck) = (step % 12, step / 12);
        match kind {
            0..4 => self.call(usize::from(kind)),
            4 => self.die(luck % 2 == 0),
            5 => self.word(),
            6 | 7 if self.preparing => self.prepare(luck),
            8 | 9 if self.starting => self.start(luck % 4),
            10 if self.stopping && luck % 3 == 0 => {
                self.stopping = false;
                self.tell(M::NotStopped("it does not die"))
            }
            10 if self.stopping => self.die(true),
            11 if self.removing => {
                self.removing = false;
                self.tell(if luck % 2 == 0 { M::Removed } else { M::NotRemoved("busy") })
            }
            _ => Ok(()),
        }
    }

    fn prepare(&mut self, luck: u8) -> Result<(), TestCaseError> {
        self.preparing = false;
        if luck.is_multiple_of(5) {
            return self.tell(M::NotPrepared("no space"));
        }
        (self.prepared, self.lives) = (true, true);
        if luck % 5 == 1 {
            self.die(true)?;
        }
        self.tell(M::Prepared("facts", Outcome::Done))
    }

    fn start(&mut self, luck: u8) -> Result<(), TestCaseError> {
        self.starting = false;
        // The program runs unless the process is dead or ran before; the answer may be lost either way.
        if luck != 1 && luck != 3 && self.lives {
            self.ran = self.ran.or(Some(7));
        }
        match (self.lives, self.ran, luck) {
            (_, _, 2 | 3) => self.tell(M::StartOverdue("late")),
            (_, Some(at), _) => self.tell(M::Started(at)),
            (_, None, _) => {
                self.lives = false;
                self.tell(M::NotStarted("no such file", 128))
            }
        }
    }

    /// Everything in flight reports, and succeeds.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        if self.preparing {
            self.prepare(2)?;
        }
        if self.starting {
            self.start(0)?;
        }
        if self.stopping {
            self.die(false)?;
            self.word()?;
        }
        if self.removing {
            self.removing = false;
            self.tell(M::Removed)?;
        }
        Ok(())
    }
}
