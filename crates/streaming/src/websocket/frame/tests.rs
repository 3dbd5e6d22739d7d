use proptest::prelude::*;

use super::*;

/// A frame as a client sends it.
fn frame(opcode: u8, fin: bool, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let (head, length) = head(Opcode::Binary, payload.len());
    let mut bytes = head[..length].to_vec();
    bytes[0] = u8::from(fin) << 7 | opcode;
    bytes[1] |= 0x80;
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What comes out when the bytes arrive in pieces of this size, with adjoining parts of a message joined.
fn decode(bytes: &[u8], piece: usize) -> Result<Vec<Event>, WebSocketError> {
    let (mut decoder, mut input) = (Decoder::default(), BytesMut::new());
    let mut events: Vec<Event> = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(piece);
        while let Some(event) = decoder.next(&mut input)? {
            match (events.last_mut(), event) {
                (
                    Some(Event::Data { bytes, last: ended @ false, .. }),
                    Event::Data { bytes: more, first: false, last },
                ) => {
                    bytes.extend_from_slice(&more);
                    *ended = last;
                }
                (_, event) => events.push(event),
            }
        }
    }
    Ok(events)
}

fn data(bytes: &[u8]) -> Event {
    Event::Data { bytes: bytes.into(), first: true, last: true }
}

#[test]
fn the_key_is_answered_as_the_specification_says() {
    assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn lengths_are_written_in_their_shortest_form() {
    assert_eq!(head(Opcode::Binary, 125), ([0x82, 125, 0, 0, 0, 0, 0, 0, 0, 0], 2));
    assert_eq!(head(Opcode::Text, 126), ([0x81, 126, 0, 126, 0, 0, 0, 0, 0, 0], 4));
    assert_eq!(head(Opcode::Pong, 0xffff), ([0x8a, 126, 0xff, 0xff, 0, 0, 0, 0, 0, 0], 4));
    assert_eq!(head(Opcode::Close, 0x1_0000), ([0x88, 127, 0, 0, 0, 0, 0, 1, 0, 0], 10));
}

#[test]
fn control_comes_between_the_parts_of_a_message() {
    let bytes = [
        frame(2, false, b"one ", [1, 2, 3, 4]),
        frame(9, true, b"ping", [9, 9, 9, 9]),
        frame(0, false, b"", [0; 4]),
        frame(10, true, b"", [0; 4]),
        frame(0, true, b"two", [5, 6, 7, 8]),
        frame(8, true, &[3, 232], [1; 4]),
    ]
    .concat();
    for piece in [1, 2, 3, 7, 1000] {
        let (mut message, mut others, mut ended) = (Vec::new(), Vec::new(), false);
        for event in decode(&bytes, piece).unwrap() {
            match event {
                Event::Data { bytes, last, .. } => {
                    message.extend_from_slice(&bytes);
                    ended = last;
                }
                other => others.push(other),
            }
        }
        assert_eq!((message.as_slice(), ended), (&b"one two"[..], true), "pieces of {piece}");
        assert_eq!(others, [Event::Ping(b"ping"[..].into()), Event::Pong, Event::Close]);
    }
}

#[test]
fn what_is_not_websocket_is_refused() {
    let mask = [1, 2, 3, 4];
    let long_control = {
        let mut bytes = frame(9, true, &[0; 125], mask);
        bytes[1] = 0x80 | 126;
        bytes
    };
    let mut unmasked = frame(2, true, b"x", mask);
    unmasked[1] &= 0x7f;
    let mut extended = frame(2, true, b"x", mask);
    extended[0] |= 0x40;
    let mut endless = vec![0x82, 0xff];
    endless.extend([0xff; 12]);
    for (bytes, error) in [
        (unmasked, WebSocketError::Unmasked),
        (extended, WebSocketError::Extension),
        (frame(3, true, b"x", mask), WebSocketError::Opcode),
        (frame(11, true, b"x", mask), WebSocketError::Opcode),
        (frame(0, true, b"x", mask), WebSocketError::Parts),
        ([frame(2, false, b"x", mask), frame(1, true, b"x", mask)].concat(), WebSocketError::Parts),
        (frame(9, false, b"x", mask), WebSocketError::Control),
        (long_control, WebSocketError::Control),
        (endless, WebSocketError::Length),
    ] {
        assert_eq!(decode(&bytes, 1), Err(error));
    }
}

#[test]
fn a_message_of_any_length_passes_in_pieces() {
    let (mut decoder, mut input) = (Decoder::default(), BytesMut::new());
    input.extend_from_slice(&[0x82, 0xff]);
    input.extend_from_slice(&(1u64 << 40).to_be_bytes());
    input.extend_from_slice(&[0; 4]);
    assert_eq!(decoder.next(&mut input), Ok(None));
    for n in 0..100 {
        input.extend_from_slice(&[7; 1000]);
        let got = decoder.next(&mut input).unwrap().unwrap();
        assert_eq!(got, Event::Data { bytes: [7; 1000][..].into(), first: n == 0, last: false });
        assert!(input.is_empty());
    }
}

proptest! {
    #[test]
    fn what_a_client_sends_comes_out_whatever_the_pieces(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
        mask: [u8; 4],
        piece in 1usize..64,
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|message| frame(2, true, message, mask)).collect();
        let expected: Vec<_> = messages.iter().map(|message| data(message)).collect();
        prop_assert_eq!(decode(&bytes, piece), Ok(expected));
    }

    #[test]
    fn any_bytes_are_refused_or_understood(bytes in prop::collection::vec(any::<u8>(), 0..2000), piece in 1usize..99) {
        drop(decode(&bytes, piece));
    }
}
