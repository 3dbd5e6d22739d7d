use std::time::Duration;

use super::*;
use crate::Config;

#[test]
fn a_look_does_not_wait_for_the_one_who_holds_the_state() {
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let images = runtime.block_on(Images::open(Config::new(root.path()))).unwrap();
    let held = images.state();
    let (done, told) = std::sync::mpsc::channel();
    let looking = images.clone();
    std::thread::spawn(move || {
        let listed = looking.list().len();
        done.send((looking.find("box:1").unwrap().is_none(), listed)).unwrap();
    });
    // The state stays held, as over a rename on a disk that does not answer.
    assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok((true, 0)));
    drop(held);
}
