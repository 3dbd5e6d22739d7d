use super::*;

const KEPT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn the_caller_decides_whatever_the_ratio_is() {
    let kept = Context::parse(KEPT).unwrap();
    let not_kept = Context { sampled: false, ..kept };
    for ratio in [0.0, 0.5, 1.0] {
        let ratio = Ratio::new(ratio).unwrap();
        assert_eq!(Sampling::of(Some(kept), ratio), Sampling::Told(kept.trace, Some(kept.span)));
        assert_eq!(Sampling::of(Some(not_kept), ratio), Sampling::Untold);
    }
}

#[test]
fn a_part_of_the_traces_that_begin_here_is_told() {
    let told = |ratio: f64| {
        let ratio = Ratio::new(ratio).unwrap();
        (0..4000).filter(|_| Sampling::of(None, ratio) != Sampling::Untold).count()
    };
    assert_eq!(told(0.0), 0);
    assert_eq!(told(1.0), 4000);
    // Of 4000 with the ratio 1/4, fewer than 800 or more than 1200 come once in 10^12 runs.
    let quarter = told(0.25);
    assert!((800..1200).contains(&quarter), "{quarter}");
}

#[test]
fn traces_that_begin_here_have_numbers_of_their_own() {
    let numbers: std::collections::HashSet<_> = (0..100).map(|_| fresh_trace()).collect();
    assert_eq!(numbers.len(), 100);
}

#[test]
fn ratios_are_from_0_to_1() {
    for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(Ratio::new(wrong), None, "{wrong}");
    }
}
