use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;

use super::*;

fn pipe() -> (Output, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (Output::pipe(read).unwrap(), write)
}

fn write(to: &OwnedFd, bytes: &[u8]) {
    assert_eq!(rustix::io::write(to, bytes), Ok(bytes.len()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_holds_ends_by_itself() {
    let (from, writer) = pipe();
    let (_running, over) = oneshot::channel();
    write(&writer, b"all of it");
    drop(writer);
    let mut text = String::new();
    Tail::new(from, over).read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "all of it");
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_read_however_late_and_a_held_stream_ends_then() {
    let (from, writer) = pipe();
    let (running, over) = oneshot::channel();
    let mut tail = Tail::new(from, over);
    write(&writer, &[7; 60_000]);
    running.send(()).unwrap();
    let mut bytes = [0; 20_000];
    for _ in 0..3 {
        assert_eq!(tail.read(&mut bytes).await.unwrap(), bytes.len());
        tokio::time::advance(10 * DRAIN).await;
    }
    assert_eq!(tail.read(&mut bytes).await.unwrap(), 0, "the writer is still there");
    drop(writer);
}

#[tokio::test(start_paused = true)]
async fn one_that_writes_on_for_ever_does_not_hold_its_reader_for_ever() {
    let (from, writer) = pipe();
    let (running, over) = oneshot::channel();
    let mut tail = Tail::new(from, over);
    running.send(()).unwrap();
    let (began, mut read) = (Instant::now(), 0);
    loop {
        write(&writer, b"tick");
        match tail.read(&mut [0; 4]).await.unwrap() {
            0 => break,
            got => read += got,
        }
        tokio::time::advance(QUIET / 5).await;
    }
    assert!(read > 0 && began.elapsed() < 2 * DRAIN, "{read} bytes, {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_silent_one_ends_soon() {
    let (from, writer) = pipe();
    let (running, over) = oneshot::channel::<()>();
    drop(running);
    let began = Instant::now();
    assert_eq!(Tail::new(from, over).read(&mut [0; 4]).await.unwrap(), 0);
    assert!(began.elapsed() < DRAIN);
    drop(writer);
}
