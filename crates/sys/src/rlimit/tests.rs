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
