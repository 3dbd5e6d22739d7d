use proptest::prelude::*;

use super::gaps;

#[test]
fn gaps_leave_out_what_is_needed() {
    assert_eq!(gaps([].into_iter()), [(0, u32::MAX)]);
    assert_eq!(gaps([0, 1, 2].into_iter()), [(3, u32::MAX)]);
    assert_eq!(gaps([7, 3, 7, 4].into_iter()), [(0, 2), (5, 6), (8, u32::MAX)]);
}

proptest! {
    #[test]
    fn a_number_is_in_a_gap_or_needed(needed in proptest::collection::vec(0..60i32, 0..20)) {
        let gaps = gaps(needed.iter().copied());
        for number in 0..64u32 {
            let closed = gaps.iter().any(|(first, last)| (*first..=*last).contains(&number));
            prop_assert_eq!(closed, !needed.contains(&number.cast_signed()), "{}", number);
        }
    }
}
