use super::*;

/// The numbers of those that have lost their places since this was asked last.
fn lost(all: &mut [(Place, Lost)]) -> Vec<u64> {
    all.iter_mut().filter_map(|(place, lost)| lost.0.try_recv().ok().map(|()| place.number)).collect()
}

#[test]
fn the_oldest_that_has_asked_for_nothing_makes_way() {
    let asking = Asking::default();
    let mut all: Vec<_> = (0..MOST).map(|_| asking.enter()).collect();
    assert!(lost(&mut all).is_empty());
    all.push(asking.enter());
    assert_eq!(lost(&mut all), [0]);
    assert!(!all[0].0.leave(), "it is too late");
    // The oldest has asked, and keeps its connection; so there is a place.
    assert!(all[1].0.leave());
    all.push(asking.enter());
    assert!(lost(&mut all).is_empty());
    all.push(asking.enter());
    assert_eq!(lost(&mut all), [2]);
    // Connections that end free their places, also those that had none any more.
    drop(all.drain(..10));
    all.extend((3..10).map(|_| asking.enter()));
    assert!(lost(&mut all).is_empty());
    all.push(asking.enter());
    assert_eq!(lost(&mut all), [10]);
    assert_eq!(asking.lock().taken.len(), MOST);
}

#[tokio::test]
async fn a_place_that_was_left_is_not_lost() {
    let asking = Asking::default();
    let (place, lost) = asking.enter();
    assert!(place.leave());
    let mut waiting = std::pin::pin!(lost.wait());
    tokio::select! {
        biased;
        () = &mut waiting => panic!("it was left, and not lost"),
        () = std::future::ready(()) => {}
    }
}
