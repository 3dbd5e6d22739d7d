use std::sync::{Arc, Mutex};

use super::*;

fn step(
    log: &Arc<Mutex<Vec<u32>>>,
    number: u32,
    fails: bool,
) -> impl Future<Output = Result<(), EngineError>> + Send + use<> {
    let log = Arc::clone(log);
    async move {
        log.lock().unwrap().push(number);
        if fails { Err(EngineError::Closed) } else { Ok(()) }
    }
}

#[tokio::test]
async fn the_last_is_undone_first_and_a_failure_does_not_stop_the_rest() {
    let log = Arc::default();
    let mut undo = Undo::new();
    undo.push("one", step(&log, 1, false));
    undo.push("two", step(&log, 2, true));
    undo.push("three", step(&log, 3, false));
    assert_eq!(undo.run().await.len(), 1);
    assert_eq!(*log.lock().unwrap(), [3, 2, 1]);
}

#[tokio::test]
async fn what_is_released_stays() {
    let log = Arc::default();
    let mut undo = Undo::new();
    undo.push("one", step(&log, 1, false));
    undo.release();
    assert!(log.lock().unwrap().is_empty());
}
