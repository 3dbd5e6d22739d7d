use super::*;

#[test]
fn the_bits_are_those_of_the_interface() {
    let events = Events::of(0b1001).unwrap();
    assert!(events.has(Event::RunPodSandbox) && events.has(Event::CreateContainer));
    assert!(!events.has(Event::StopPodSandbox) && !events.has(Event::ValidateContainerAdjustment));
}

#[test]
fn none_is_all_of_them() {
    let events = Events::of(0).unwrap();
    assert_eq!(events, Events::ALL);
    assert!(events.has(Event::RunPodSandbox) && events.has(Event::ValidateContainerAdjustment));
    // The value that plugins of NRI 0.12 send for all.
    assert_eq!(Events::of(0x3fff).unwrap(), Events::ALL);
}

#[test]
fn others_are_refused_by_their_bits() {
    assert_eq!(Events::of(0x4001), Err(UnknownEvents(0x4000)));
    assert_eq!(Events::of(-1), Err(UnknownEvents(0xffff_c000)));
}
