use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn file(text: &str) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file.into()
}

fn text(fd: OwnedFd) -> String {
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn frames_keep_their_own_descriptors_when_they_arrive_together() {
    let (a, b) = UnixStream::pair().unwrap();
    let mut writer = Writer::new(1 << 20);
    writer.push(Frame { body: b"none".to_vec(), fds: vec![] }).unwrap();
    writer.push(Frame { body: b"two".to_vec(), fds: vec![file("a"), file("b")] }).unwrap();
    writer.push(Frame { body: vec![], fds: vec![file("c")] }).unwrap();
    assert!(writer.flush(&a).unwrap());
    drop(a);
    let mut reader = Reader::new();
    let mut got = vec![];
    while let Some(frame) = receive(&b, &mut reader, soon()).unwrap() {
        got.push((frame.body, frame.fds.into_iter().map(text).collect::<Vec<_>>()));
    }
    assert_eq!(
        got,
        [
            (b"none".to_vec(), vec![]),
            (b"two".to_vec(), vec!["a".to_owned(), "b".to_owned()]),
            (vec![], vec!["c".to_owned()])
        ]
    );
}

#[test]
fn a_frame_larger_than_the_socket_buffer_goes_in_parts() {
    let (a, b) = UnixStream::pair().unwrap();
    let body: Vec<u8> = (0..=250).cycle().take(MAX_FRAME).collect();
    let sent = Frame { body: body.clone(), fds: vec![file("x")] };
    let sender = std::thread::spawn(move || send(&a, sent, soon()).unwrap());
    let got = receive(&b, &mut Reader::new(), soon()).unwrap().unwrap();
    sender.join().unwrap();
    assert!(got.body == body);
    assert_eq!(got.fds.into_iter().map(text).collect::<Vec<_>>(), ["x"]);
}

#[test]
fn received_descriptors_are_close_on_exec() {
    let (a, b) = UnixStream::pair().unwrap();
    send(&a, Frame { body: vec![], fds: vec![file("")] }, soon()).unwrap();
    let frame = receive(&b, &mut Reader::new(), soon()).unwrap().unwrap();
    let flags = rustix::io::fcntl_getfd(&frame.fds[0]).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn a_reader_that_does_not_read_fills_the_queue_and_no_more() {
    let (a, _b) = UnixStream::pair().unwrap();
    let mut writer = Writer::new(1000);
    let refused = loop {
        match writer.push(Frame { body: vec![0; 5000], fds: vec![] }) {
            Ok(()) => drop(writer.flush(&a).unwrap()),
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, FrameError::Full(n) if n > 1000 && n <= 6004), "{refused}");
}

#[test]
fn damaged_streams_are_refused() {
    let cases: [(&[u8], FrameError); 4] = [
        (&[0xff; 4], FrameError::Limits),
        (&[1, 0, 0, 0], FrameError::Truncated),
        (&[1, 0], FrameError::Truncated),
        (&[0, 0, 0, 1], FrameError::Descriptors),
    ];
    for (bytes, expected) in cases {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.write_all(bytes).unwrap();
        drop(a);
        let error = receive(&b, &mut Reader::new(), soon()).unwrap_err();
        assert_eq!(error.to_string(), expected.to_string(), "{bytes:?}");
    }
}

#[test]
fn waiting_ends_at_the_deadline() {
    let (_a, b) = UnixStream::pair().unwrap();
    let error = receive(&b, &mut Reader::new(), Instant::now()).unwrap_err();
    assert!(matches!(error, FrameError::Timeout));
}
