use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;

/// A block without headers, compressed as a client may.
fn no_headers() -> Vec<u8> {
    [&PREFACE[..], &NO_HEADERS].concat()
}

fn open(stream: u32, fin: bool, block: &[u8]) -> Vec<u8> {
    let mut frame = control(kind::SYN_STREAM, &[&stream.to_be_bytes(), &[0; 4], &[0; 2], block]);
    frame[4] = u8::from(fin);
    frame
}

fn data(stream: u32, bytes: &[u8], fin: bool) -> Vec<u8> {
    [&data_head(stream, bytes.len(), fin), bytes].concat()
}

/// The frames of bytes that arrive in pieces of this size; adjoining parts of data are joined.
fn decode(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, SpdyError> {
    let mut decoder = Decoder::default();
    let mut frames: Vec<Frame> = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(frame) = decoder.next(&mut input)? {
            match (frames.last_mut(), frame) {
                (
                    Some(Frame::Data { stream, bytes, fin: ended @ false }),
                    Frame::Data { stream: same, bytes: more, fin },
                ) if *stream == same => {
                    *bytes = [&bytes[..], &more].concat().into();
                    *ended = fin;
                }
                (_, frame) => frames.push(frame),
            }
        }
        assert!(input.is_empty(), "all of it is taken");
        assert!(decoder.held.len() <= MAX_CONTROL, "what is held is bounded");
    }
    Ok(frames)
}

#[test]
fn frames_are_read_whatever_the_pieces() {
    let bytes = [
        open(1, false, &no_headers()),
        data(1, b"hello", false),
        // SETTINGS and WINDOW_UPDATE say nothing here, however long they are.
        control(4, &[&[0; 40_000]]),
        control(9, &[&[0; 8]]),
        open(3, true, &NO_HEADERS),
        ping(7),
        ping(8),
        data(1, b"", false),
        data(1, b" again", true),
        reset(3, Status::Cancel),
        control(kind::GOAWAY, &[&[0; 8]]),
    ]
    .concat();
    let headers = Headers::default();
    let frames = [
        Frame::Open { stream: 1, headers: headers.clone(), fin: false },
        Frame::Data { stream: 1, bytes: Bytes::from_static(b"hello"), fin: false },
        Frame::Open { stream: 3, headers, fin: true },
        Frame::Ping { id: 7 },
        Frame::Data { stream: 1, bytes: Bytes::from_static(b" again"), fin: true },
        Frame::Reset { stream: 3 },
    ];
    for piece in [1, 2, 3, 5, 64, 1 << 20] {
        assert_eq!(decode(&bytes, piece).unwrap(), frames, "pieces of {piece}");
    }
}

#[test]
fn headers_of_other_frames_are_of_the_same_compressed_stream() {
    let mut compress = Compress::new(Compression::best(), false);
    let mut block = |plain: &[u8]| {
        let mut out = Vec::with_capacity(1024);
        compress.compress_vec(plain, &mut out, FlushCompress::Sync).unwrap();
        out
    };
    let one = block(&[0, 0, 0, 1, 0, 0, 0, 4, b'n', b'a', b'm', b'e', 0, 0, 0, 2, b'v', b'1']);
    let two = block(&[0, 0, 0, 1, 0, 0, 0, 4, b'n', b'a', b'm', b'e', 0, 0, 0, 2, b'v', b'2']);
    // A zlib stream without a dictionary, whose blocks refer to earlier ones.
    let begin = [&[0x78, 0x01][..], &one].concat();
    let frames = [control(kind::HEADERS, &[&1u32.to_be_bytes(), &begin]), open(1, false, &two)];
    let read = decode(&frames.concat(), 4).unwrap();
    let [Frame::Open { stream: 1, headers, fin: false }] = &read[..] else { panic!("{read:?}") };
    assert_eq!(headers.get("name"), Some("v2"));
}

#[test]
fn what_is_not_spdy_is_refused() {
    let long = [&control(kind::PING, &[])[..5], &[1, 0, 0]].concat();
    for (bytes, error) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), None),
        (vec![0x80, 2, 0, 1, 0, 0, 0, 0], Some(SpdyError::Version(2))),
        (long, Some(SpdyError::TooLong(1 << 16))),
        (control(kind::PING, &[&[0; 3]]), Some(SpdyError::TooShort)),
        (control(kind::SYN_STREAM, &[&[0; 9]]), Some(SpdyError::TooShort)),
        (open(1, false, b"no deflate"), Some(SpdyError::Deflate)),
    ] {
        match error {
            Some(error) => assert_eq!(decode(&bytes, 3), Err(error)),
            // The head of a data frame of a stream that does not exist: it is passed over.
            None => assert!(decode(&bytes, 3).is_ok()),
        }
    }
}

#[test]
fn a_frame_of_any_length_passes_in_pieces() {
    let mut decoder = Decoder::default();
    let mut head = Bytes::copy_from_slice(&data_head(5, (1 << 24) - 1, true));
    assert_eq!(decoder.next(&mut head), Ok(None));
    let mut left = (1 << 24) - 1;
    while left > 0 {
        let here = left.min(1 << 16);
        left -= here;
        let piece = Bytes::from(vec![1; here]);
        let got = decoder.next(&mut piece.clone()).unwrap();
        assert_eq!(got, Some(Frame::Data { stream: 5, bytes: piece, fin: left == 0 }));
    }
    assert!(decoder.held.is_empty());
}

#[test]
fn frames_are_written_as_the_specification_draws_them() {
    assert_eq!(data_head(1, 0x01_0203, true), [0, 0, 0, 1, 1, 1, 2, 3]);
    assert_eq!(ping(9), [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 9]);
    assert_eq!(reset(3, Status::Refused), [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 3]);
    assert_eq!(reply(1, false), [&[0x80, 3, 0, 2, 0, 0, 0, 18, 0, 0, 0, 1][..], &NO_HEADERS].concat());
    assert_eq!(reply(1, true).len(), reply(1, false).len() + PREFACE.len());
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..4000), piece in 1usize..200) {
        drop(decode(&bytes, piece));
    }

    #[test]
    fn frames_with_any_contents_are_refused_or_read(
        frames in prop::collection::vec((0u16..12, any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 0..8),
        piece in 1usize..50,
    ) {
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|(kind, flags, body)| {
                let mut frame = control(*kind, &[body]);
                frame[4] = *flags;
                frame
            })
            .collect();
        drop(decode(&bytes, piece));
    }
}
