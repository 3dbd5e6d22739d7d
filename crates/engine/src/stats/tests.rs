use super::*;

fn usage(cpu: u64, taken: Instant) -> Usage {
    Usage { cpu_usage_ns: Some(cpu), taken: Some(taken), ..Usage::default() }
}

/// contract 43
#[test]
fn a_rate_needs_two_moments_and_a_counter_that_grows() {
    let begin = Instant::now();
    let after = |ms| begin + Duration::from_millis(ms);
    let before = usage(1_000_000_000, begin);
    assert_eq!(rate(&before, &usage(1_500_000_000, after(2000))), Some(250_000_000));
    assert_eq!(rate(&before, &usage(1_000_000_000, after(2000))), Some(0), "idle is 0");
    assert_eq!(rate(&before, &usage(1_500_000_000, begin)), None, "one moment");
    assert_eq!(rate(&before, &usage(1_500_000_000, after(50))), None, "too near");
    assert_eq!(rate(&before, &usage(1, after(2000))), None, "the counter was set back");
    assert_eq!(rate(&usage(1, after(2000)), &usage(2, begin)), None, "the other way round");
    assert_eq!(rate(&Usage::default(), &usage(2, begin)), None);
}

/// contract 43: a caller that asks again after a second sees another moment.
#[test]
fn a_sample_is_given_for_a_short_while_and_a_new_one_for_longer() {
    let begin = Instant::now();
    let at = |ms| begin + Duration::from_millis(ms);
    let mut samples = Samples::default();
    samples.put("a", 1, begin, false);
    assert_eq!(samples.give(&"b", begin), None);
    // Read in the background, first given late.
    assert_eq!(samples.give(&"a", at(9000)), Some(1));
    assert_eq!(samples.give(&"a", at(9900)), Some(1));
    assert_eq!(samples.give(&"a", at(10_000)), None, "given a second ago");
    // Read in a call.
    samples.put("a", 2, at(10_000), true);
    assert_eq!(samples.give(&"a", at(10_900)), Some(2));
    assert_eq!(samples.give(&"a", at(11_000)), None);
    // Too old, whether it was given or not.
    samples.put("a", 3, at(12_000), false);
    assert_eq!(samples.give(&"a", at(27_001)), None);
    assert_eq!(samples.last(&"a"), Some(&3), "but it is still what the next is compared with");
}

#[test]
fn the_task_reads_what_no_call_has_read_lately_and_forgets_what_is_gone() {
    let begin = Instant::now();
    let at = |ms| begin + Duration::from_millis(ms);
    let mut samples = Samples::default();
    samples.put("old", 1, begin, true);
    samples.put("new", 2, at(9000), true);
    assert!(samples.is_due(&"old", at(10_000)) && samples.is_due(&"never", at(10_000)));
    assert!(!samples.is_due(&"new", at(10_000)));
    samples.retain(&[&"new"]);
    assert_eq!((samples.last(&"old"), samples.last(&"new")), (None, Some(&2)));
    assert!(!samples.wanted(begin, ASKED), "nobody asked yet");
    samples.asked(begin);
    assert!(samples.wanted(at(119_000), ASKED) && !samples.wanted(at(121_000), ASKED));
}
