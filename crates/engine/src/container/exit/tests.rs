use super::*;

#[test]
fn a_container_is_killed_for_memory_only_when_its_main_process_is_killed() {
    let view = |code, signal, oom_killed| {
        told(&shim::Exit { code, signal, at: 1, oom_killed, message: String::new() }, false).reason
    };
    for (code, signal, oom_killed, want) in [
        (137, Some(9), true, ExitReason::OomKilled),
        // A shell ends so when its command is killed.
        (137, None, true, ExitReason::OomKilled),
        (137, Some(9), false, ExitReason::Error),
        (6, None, true, ExitReason::Error),
        (143, Some(15), true, ExitReason::Error),
        (0, None, true, ExitReason::Completed),
    ] {
        assert_eq!(view(code, signal, oom_killed), want, "{code} {signal:?} {oom_killed}");
    }
}
