use berth_types::ContainerId;

use super::*;

fn id(byte: u8) -> ContainerId {
    ContainerId::from_random([byte; 32])
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_only_brought_forward() {
    let mut deadline = Deadline::after(30);
    assert!(!deadline.shorten(Deadline::after(40)));
    assert_eq!((deadline.left(), deadline.least), (Duration::from_secs(30), LEAST));
    assert!(deadline.shorten(Deadline::after(0)));
    assert_eq!((deadline.left(), deadline.least), (Duration::ZERO, Duration::ZERO));
    // No grace is too long for the clock.
    assert!(Deadline::after(u64::MAX).left() > Duration::from_secs(LONGEST - 1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_deadline_also_when_that_comes_earlier() {
    let (told, mut deadline) = watch::channel(Deadline::after(1000));
    let begun = Instant::now();
    let shorter = async {
        tokio::time::advance(Duration::from_secs(5)).await;
        told.send_if_modified(|known| known.shorten(Deadline::after(10)));
    };
    tokio::join!(past(&mut deadline), shorter);
    assert_eq!(begun.elapsed(), Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_turn_comes_when_all_before_it_have_ended() {
    let told = watch::Sender::new(BTreeSet::new());
    let turn = |before: &[u8]| Turn {
        before: before.iter().map(|byte| id(*byte)).collect(),
        ended: told.subscribe(),
    };
    turn(&[]).comes().await;
    let mut waits = std::pin::pin!(turn(&[1, 2]).comes());
    for (byte, comes) in [(3, false), (2, false), (1, true)] {
        told.send_modify(|ended| assert!(ended.insert(id(byte))));
        let came = tokio::time::timeout(Duration::from_secs(1), &mut waits).await.is_ok();
        assert_eq!(came, comes, "{byte}");
    }
}
