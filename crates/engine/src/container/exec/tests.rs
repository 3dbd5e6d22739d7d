use std::io::Read;

use super::*;

#[tokio::test]
async fn a_process_gets_pipes_and_no_inode_of_the_host() {
    for stdin in [false, true] {
        let Streams { theirs, stdin: input, .. } = streams(stdin).unwrap();
        assert_eq!((theirs.len(), input.is_some()), (3, stdin));
        for fd in &theirs {
            let stat = rustix::fs::fstat(fd).unwrap();
            assert!(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo(), "{:o}", stat.st_mode);
        }
        drop(input);
        let mut empty = std::fs::File::from(theirs.into_iter().next().unwrap());
        assert_eq!(empty.read(&mut [0; 8]).unwrap(), 0, "it is at its end");
    }
}

#[test]
fn all_output_together_is_bounded_and_room_comes_back() {
    let budget = OutputBudget::default();
    let chunk = vec![7; MAX_OUTPUT];
    let keep = || {
        let mut kept = Kept { bytes: Vec::new(), budget: budget.clone() };
        kept.push(&chunk);
        kept.push(b"more than one stream may have");
        kept
    };
    let mut all: Vec<Kept> = (0..MAX_ALL_OUTPUT / MAX_OUTPUT).map(|_| keep()).collect();
    assert!(all.iter().all(|kept| kept.bytes.len() == MAX_OUTPUT));
    assert_eq!(keep().bytes.len(), 0);
    assert_eq!(all.pop().unwrap().give().len(), MAX_OUTPUT);
    assert_eq!(keep().bytes.len(), MAX_OUTPUT);
    drop(all);
    assert_eq!(budget.take(usize::MAX), MAX_ALL_OUTPUT);
}
