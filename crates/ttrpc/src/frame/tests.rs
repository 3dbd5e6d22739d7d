use proptest::prelude::*;

use super::*;

fn all(frames: &mut Frames, mut bytes: &[u8]) -> Vec<Incoming> {
    std::iter::from_fn(|| frames.next(&mut bytes)).collect()
}

#[test]
fn a_header_has_the_documented_bytes() {
    let header = Header { length: 0x0001_0203, stream: 0x0405_0607, kind: Kind::Response, flags: 4 };
    assert_eq!(header.encode(), [0, 1, 2, 3, 4, 5, 6, 7, 2, 4]);
    assert_eq!(encode(Kind::Request, 1, b"ab").unwrap(), [0, 0, 0, 2, 0, 0, 0, 1, 1, 0, b'a', b'b']);
}

#[test]
fn a_body_may_have_four_mebibytes_and_no_byte_more() {
    let largest = vec![7; MAX_BODY];
    let bytes = encode(Kind::Request, 1, &largest).unwrap();
    let got = all(&mut Frames::new(), &bytes);
    assert!(matches!(&got[..], [Incoming::Frame(_, body)] if *body == largest));
    assert_eq!(encode(Kind::Request, 1, &vec![7; MAX_BODY + 1]), Err(MAX_BODY + 1));
}

#[test]
fn what_is_too_large_is_passed_over() {
    let length = u32::try_from(MAX_BODY).unwrap() + 5;
    let header = Header { length, stream: 3, kind: Kind::Response, flags: 0 };
    let mut bytes = header.encode().to_vec();
    bytes.resize(HEADER + length as usize, 0xff);
    bytes.extend(encode(Kind::Response, 5, b"next").unwrap());
    let mut frames = Frames::new();
    let got: Vec<Incoming> = bytes.chunks(4097).flat_map(|part| all(&mut frames, part)).collect();
    let next = Header { length: 4, stream: 5, kind: Kind::Response, flags: 0 };
    assert_eq!(got, [Incoming::TooLarge(header), Incoming::Frame(next, b"next".to_vec())]);
    assert!(!frames.is_inside());
}

#[test]
fn an_announced_body_takes_no_memory_before_it_comes() {
    let length = u32::try_from(MAX_BODY).unwrap();
    let header = Header { length, stream: 1, kind: Kind::Response, flags: 0 };
    let mut frames = Frames::new();
    assert_eq!(all(&mut frames, &header.encode()), []);
    assert!(frames.is_inside());
    assert!(frames.body.as_ref().unwrap().1.capacity() < 4096);
}

proptest! {
    #[test]
    fn every_header_survives(bytes: [u8; HEADER]) {
        prop_assert_eq!(Header::decode(bytes).encode(), bytes);
    }

    #[test]
    fn frames_come_whole_out_of_any_portions(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        portion in 1usize..400,
    ) {
        let mut bytes = Vec::new();
        for (stream, body) in (1..).step_by(2).zip(&bodies) {
            bytes.extend(encode(Kind::Response, stream, body).unwrap());
        }
        let mut frames = Frames::new();
        let got: Vec<Incoming> = bytes.chunks(portion).flat_map(|part| all(&mut frames, part)).collect();
        let got: Vec<Vec<u8>> = got
            .into_iter()
            .map(|incoming| match incoming {
                Incoming::Frame(_, body) => body,
                Incoming::TooLarge(header) => panic!("{header:?}"),
            })
            .collect();
        prop_assert_eq!(got, bodies);
        prop_assert!(!frames.is_inside());
    }

    /// Hostile bytes: no panic, no more memory than they have, and the same frames whatever the portions.
    #[test]
    fn any_bytes_are_read_the_same_in_any_portions(
        bytes in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..2000),
        portion in 1usize..50,
    ) {
        let mut whole = Frames::new();
        let mut parts = Frames::new();
        let expected = all(&mut whole, &bytes);
        let got: Vec<Incoming> = bytes.chunks(portion).flat_map(|part| all(&mut parts, part)).collect();
        let held: usize = expected.iter().map(|i| match i {
            Incoming::Frame(_, body) => body.len() + HEADER,
            Incoming::TooLarge(_) => HEADER,
        }).sum();
        prop_assert!(held <= bytes.len());
        prop_assert_eq!(got, expected);
        prop_assert_eq!(whole.is_inside(), parts.is_inside());
    }
}
