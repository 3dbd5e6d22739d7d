use proptest::prelude::*;

use super::*;

fn all(demux: &mut Demux, mut bytes: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, TooLarge> {
    let mut parts = Vec::new();
    while let Some((connection, part)) = demux.next(&mut bytes)? {
        parts.push((connection, part.to_vec()));
    }
    Ok(parts)
}

#[test]
fn a_frame_has_the_bytes_that_the_go_library_writes() {
    assert_eq!(encode(2, b"ab"), [0, 0, 0, 2, 0, 0, 0, 2, b'a', b'b']);
}

#[test]
fn a_long_message_is_one_frame_of_4096_bytes_and_one_with_the_rest() {
    let bytes = encode(1, &vec![7; 10_000]);
    assert_eq!(bytes[..HEADER], [0, 0, 0, 1, 0, 0, 16, 0]);
    assert_eq!(bytes[HEADER + 4096..][..HEADER], [0, 0, 0, 1, 0, 0, 23, 16]);
    assert_eq!(bytes.len(), 10_000 + 2 * HEADER);
}

#[test]
fn a_frame_that_is_announced_too_large_is_refused_before_any_of_it_comes() {
    let largest = u32::try_from(MAX_PAYLOAD).unwrap();
    let header = |length: u32| [1_u32.to_be_bytes(), length.to_be_bytes()].concat();
    assert_eq!(all(&mut Demux::default(), &header(largest)), Ok(vec![]));
    assert_eq!(all(&mut Demux::default(), &header(largest + 1)), Err(TooLarge(largest + 1)));
    assert_eq!(all(&mut Demux::default(), &header(2 << 30)), Err(TooLarge(2 << 30)));
}

proptest! {
    #[test]
    fn what_is_sent_comes_in_any_portions(
        messages in proptest::collection::vec((0_u32..4, proptest::collection::vec(any::<u8>(), 0..9000)), 0..8),
        portion in 1_usize..5000,
    ) {
        let sent: Vec<u8> = messages.iter().flat_map(|(connection, message)| encode(*connection, message)).collect();
        let mut demux = Demux::default();
        let mut got = [const { Vec::new() }; 4];
        for bytes in sent.chunks(portion) {
            for (connection, part) in all(&mut demux, bytes).unwrap() {
                got[connection as usize].extend(part);
            }
        }
        for (connection, got) in got.iter().enumerate() {
            let sent = messages.iter().filter(|(of, _)| *of as usize == connection);
            let sent: Vec<u8> = sent.flat_map(|(_, message)| message.clone()).collect();
            prop_assert_eq!(got, &sent);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(all(&mut Demux::default(), &bytes));
    }
}
