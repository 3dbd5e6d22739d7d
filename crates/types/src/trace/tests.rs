use proptest::prelude::*;

use super::*;

const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_parent_is_read_and_written() {
    let context = Context::parse(GIVEN).unwrap();
    assert_eq!(context.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(context.span.to_string(), "b7ad6b7169203331");
    assert!(context.sampled);
    assert_eq!(context.to_string(), GIVEN);
}

#[test]
fn the_flag_of_whoever_began_is_obeyed_and_others_mean_nothing() {
    let sampled = |flags: &str| Context::parse(&GIVEN.replace("-01", flags)).map(|context| context.sampled);
    assert_eq!(sampled("-00"), Some(false));
    // Bit 1 says that the trace's number is random.
    assert_eq!(sampled("-02"), Some(false));
    assert_eq!(sampled("-03"), Some(true));
}

#[test]
fn what_is_no_parent_is_none() {
    for wrong in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        // Version 0 has four parts.
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
    ] {
        assert_eq!(Context::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn the_beginning_of_versions_to_come_is_read() {
    let later = GIVEN.replacen("00", "cc", 1);
    assert_eq!(Context::parse(&later), Context::parse(GIVEN));
    assert_eq!(Context::parse(&format!("{later}-what-the-future-has")), Context::parse(GIVEN));
}

proptest! {
    #[test]
    fn nothing_that_is_sent_is_too_much(text in ".{0,80}") {
        if let Some(context) = Context::parse(&text) {
            prop_assert_eq!(Context::parse(&context.to_string()), Some(context));
        }
    }
}
