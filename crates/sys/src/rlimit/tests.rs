use super::*;

#[test]
fn a_limit_is_read_and_lowered() {
    const CORE: u32 = 4;
    let before = get(0, CORE).expect("get");
    let lower = Limit { soft: 0, hard: before.hard };
    set(0, CORE, lower).expect("set");
    assert_eq!(get(0, CORE), Ok(lower));
    set(0, CORE, before).expect("put back");
    assert_eq!(set(0, 99, before), Err(Errno::INVAL));
    assert_eq!(set(0, CORE, Limit { soft: 2, hard: 1 }), Err(Errno::INVAL));
}

#[test]
fn a_limit_is_raised_to_its_ceiling() {
    // Of no consequence to anything else that runs here: a limit on message queues.
    const MSGQUEUE: u32 = 12;
    let first = get(0, MSGQUEUE).expect("get");
    let lower = Limit { soft: 0, hard: first.hard };
    set(0, MSGQUEUE, lower).expect("set");
    assert_eq!(raise(MSGQUEUE), Ok(lower));
    assert_eq!(get(0, MSGQUEUE), Ok(Limit { soft: first.hard, hard: first.hard }));
    set(0, MSGQUEUE, first).expect("put back");
}
