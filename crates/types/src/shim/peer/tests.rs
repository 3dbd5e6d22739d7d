use super::*;
use crate::id::{ContainerId, ExecId};
use crate::shim::{Create, Exec, PidSpace};

fn container() -> ContainerId {
    ContainerId::from_random([1; 32])
}

fn create(plan: &[u8]) -> Request {
    Request::Create(Create {
        container: container(),
        plan: plan.to_vec(),
        log: None,
        stdin: false,
        stdin_once: false,
        tty: false,
        cgroup_dirs: Vec::new(),
        pid_space: PidSpace::Plan,
    })
}

fn exec(plan: &[u8]) -> Request {
    let exec = ExecId::from_random([2; 32]);
    Request::Exec(Exec { exec, container: container(), plan: plan.to_vec(), tty: false, timeout_ms: 0 })
}

#[test]
fn the_first_shims_know_every_request_of_their_version() {
    let peer = Peer::first();
    for request in [create(&[1, 0, 9]), exec(&[1, 0]), Request::Shutdown, Request::Hello { version: 9 }] {
        assert_eq!(peer.knows(&request), Ok(()));
    }
}

#[test]
fn a_plan_that_the_shim_does_not_execute_is_not_sent() {
    let peer = Peer { plans: vec![2, 0x0103], ..Peer::first() };
    for (request, name) in [(create(&[1, 0, 9]), "Create"), (exec(&[1, 0, 9]), "Exec")] {
        let refused = peer.knows(&request).unwrap_err();
        assert_eq!(refused, Unsupported::Plan { request: name, plan: 1, plans: vec![2, 0x0103] });
    }
    assert_eq!(peer.knows(&create(&[3, 1])), Ok(()));
    assert_eq!(peer.knows(&create(&[3])), Ok(()), "what is no plan is the shim's to refuse");
}

#[test]
fn a_request_newer_than_the_shim_is_not_sent() {
    let peer = Peer { version: 0, ..Peer::first() };
    let refused = peer.knows(&Request::Shutdown).unwrap_err();
    assert_eq!(refused, Unsupported::Request { request: "Shutdown", version: 0, since: 1 });
    assert!(refused.to_string().contains("version 0"), "{refused}");
}

#[test]
fn both_answers_to_hello_say_who_answers() {
    let old = Answer::Hello { version: 1, sandbox: None, containers: Vec::new() };
    assert_eq!(Peer::of(&old), Some(Peer::first()));
    let abilities = Abilities::APART.and(Abilities(1 << 40));
    let new = Answer::Welcome { version: 7, plans: vec![1, 2], abilities, sandbox: None, containers: vec![] };
    let peer = Peer::of(&new).unwrap();
    assert_eq!((peer.version, peer.plans.as_slice()), (7, &[1, 2][..]));
    assert!(peer.abilities.has(Abilities::APART) && !peer.abilities.has(Abilities::ENDS_EMPTY));
    assert_eq!(Peer::of(&Answer::Done), None);
}

#[test]
fn an_older_daemon_hears_what_it_knows() {
    let started = Event::Started { container: container(), at: 5 };
    assert_eq!(started.clone().for_version(1), None);
    assert_eq!(started.clone().for_version(2), Some(started.clone()));
    assert_eq!(started.clone().for_version(u16::MAX), Some(started));
    let lingers = Event::Lingers { container: container(), text: "x".to_owned() };
    let note = Event::Note { container: container(), text: "x".to_owned() };
    assert_eq!(lingers.clone().for_version(1), Some(note.clone()));
    assert_eq!(lingers.clone().for_version(2), Some(lingers));
    assert_eq!(note.clone().for_version(1), Some(note));
    assert_eq!(Event::PodEnded.for_version(0), None);
}
