use super::*;

#[test]
fn what_failed_is_not_begun_again_before_its_time() {
    for (action, expected) in [
        (Action::Create(None), true),
        (Action::Begin(0), true),
        (Action::Remove("a".into()), true),
        (Action::RemoveJob("a".into()), true),
        (Action::RemoveSelf, false),
    ] {
        assert_eq!(waits(&action), expected, "{action:?}");
    }
}
