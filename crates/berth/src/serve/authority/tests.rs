//! Blocks as encoders write them, and bytes as nobody does.

use proptest::prelude::*;
use tonic::codegen::http::uri::Authority;

use super::*;

/// RFC 7541, appendix B, up to 15 bits: the symbols of each length in the order of their codes.
const CODES: [(u32, &[u8]); 10] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
];

/// Each symbol with its code, which are consecutive.
fn codes() -> Vec<(u8, String)> {
    let mut all = Vec::new();
    let (mut code, mut before) = (0u32, 5);
    for (bits, symbols) in CODES {
        code <<= bits - before;
        before = bits;
        for symbol in symbols {
            all.push((*symbol, format!("{code:0width$b}", width = bits as usize)));
            code += 1;
        }
    }
    all
}

fn huffman(text: &[u8]) -> Vec<u8> {
    let codes = codes();
    let code =
        |byte: &u8| codes.iter().find(|(symbol, _)| symbol == byte).map(|(_, code)| code.as_str()).unwrap();
    let mut bits: String = text.iter().map(code).collect();
    bits.extend(std::iter::repeat_n('1', bits.len().next_multiple_of(8) - bits.len()));
    bits.as_bytes()
        .chunks(8)
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect()
}

fn decoded(coded: &[u8]) -> Vec<u8> {
    let codes = codes();
    let bits: String = coded.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut text) = (bits.as_str(), Vec::new());
    while let Some((symbol, code)) = codes.iter().find(|(_, code)| rest.starts_with(code.as_str())) {
        text.push(*symbol);
        rest = &rest[code.len()..];
    }
    assert!(rest.len() < 8 && rest.bytes().all(|bit| bit == b'1'), "not only padding after {text:?}: {rest}");
    text
}

/// An integer with a prefix of some bits, the rest of the first byte being `first`.
fn number(first: u8, prefix: u32, value: usize) -> Vec<u8> {
    let most = (1 << prefix) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let (mut bytes, mut value) = (vec![first | u8::try_from(most).unwrap()], value - most);
    while value >= 128 {
        bytes.push(0x80 | u8::try_from(value % 128).unwrap());
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn string(text: &[u8], coded: bool) -> Vec<u8> {
    let (first, bytes) = if coded { (0x80, huffman(text)) } else { (0, text.to_vec()) };
    [number(first, 7, bytes.len()), bytes].concat()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Name {
    /// By its index in the static table.
    Indexed,
    Plain,
    Coded,
}

/// The ways to write a literal: added to the table, not added, never to be.
const KINDS: [(u8, u32); 3] = [(0x40, 6), (0x00, 4), (0x10, 4)];

fn field(kind: (u8, u32), name: Name, value: &[u8], coded: bool) -> Vec<u8> {
    let name = match name {
        Name::Indexed => number(kind.0, kind.1, 1),
        Name::Plain => [vec![kind.0], string(b":authority", false)].concat(),
        Name::Coded => [vec![kind.0], string(b":authority", true)].concat(),
    };
    [name, string(value, coded)].concat()
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// What becomes of a client's first frames, read in parts of `step` bytes.
fn passed(frames: &[u8], step: usize) -> Vec<u8> {
    let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frames].concat();
    let mut authorities = Authorities::new();
    bytes.chunks_mut(step).for_each(|part| authorities.pass(part));
    bytes.split_off(24)
}

/// What a client sends before and after its authority. Values of other fields look like one, too.
const BEFORE: &[u8] = b"\x83\x86\x44\x1d/runtime.v1/%2Frun/:authority";
const AFTER: &[u8] =
    b"\x3f\xe1\x1f\x40\x0a:authoritz\x03%2F\x40\x02te\x08trailers\x7f\x00\x01/\xff\x80\x01\x0f\x02\x02%/";

#[test]
fn an_authority_becomes_a_host_in_every_form_that_a_field_can_have() {
    for value in
        [&b"%2Frun%2Fberth%2Fberth.sock"[..], b"/run/berth.sock", b"localhost:80", b"a b:c:d", &[b'/'; 300]]
    {
        for (kind, name, coded) in KINDS.iter().flat_map(|kind| {
            [Name::Indexed, Name::Plain, Name::Coded]
                .iter()
                .flat_map(move |name| [true, false].map(move |coded| (*kind, *name, coded)))
        }) {
            let authority = field(kind, name, value, coded);
            let out = passed(&frame(1, 4, &[BEFORE, &authority, AFTER].concat()), 7);
            let block = &out[9..];
            let about = format!("{kind:?} {name:?} {coded} {:?}", String::from_utf8_lossy(value));
            assert_eq!(&block[..BEFORE.len()], BEFORE, "before: {about}");
            assert_eq!(&block[block.len() - AFTER.len()..], AFTER, "after: {about}");
            let length = if coded { huffman(value).len() } else { value.len() };
            let now = &block[..block.len() - AFTER.len()];
            let now = &now[now.len() - length..];
            let now = if coded { decoded(now) } else { now.to_vec() };
            assert_eq!(now.len(), value.len(), "the length in the dynamic table: {about}");
            let text = String::from_utf8(now).unwrap();
            assert!(text.parse::<Authority>().is_ok(), "{about} became {text}");
        }
    }
}

#[test]
fn a_host_without_a_port_stays_as_it_is() {
    for value in [&b"localhost"[..], b"a.example-1.com", b"127.0.0.1"] {
        for coded in [true, false] {
            let sent = frame(1, 4, &field(KINDS[0], Name::Indexed, value, coded));
            assert_eq!(passed(&sent, sent.len()), sent);
        }
    }
}

#[test]
fn every_symbol_of_the_code_keeps_its_length() {
    for (symbol, code) in codes() {
        let value = [b"a", &[symbol][..], b"z", &[symbol], b"~"].concat();
        let coded = huffman(&value);
        let sent = frame(1, 4, &field(KINDS[0], Name::Indexed, &value, true));
        let out = decoded(&passed(&sent, 1)[9 + 2..]);
        assert_eq!(out.len(), value.len(), "{:?} ({code})", char::from(symbol));
        assert_eq!(huffman(&out).len(), coded.len());
        let changed = matches!(symbol, b' ' | b'%' | b'/' | b':');
        assert_eq!(
            out != value,
            changed,
            "{:?} became {:?}",
            char::from(symbol),
            String::from_utf8_lossy(&out)
        );
    }
}

#[test]
fn padding_priority_and_continuations_are_followed() {
    let block = [BEFORE, &field(KINDS[0], Name::Plain, b"%2Frun", false), AFTER].concat();
    let expected = [BEFORE, &field(KINDS[0], Name::Plain, b"-2Frun", false), AFTER].concat();
    let padding = b"\x41\x01%";
    for cut in 0..=block.len() {
        let stream = |block: &[u8]| {
            let prefix = [&[u8::try_from(padding.len()).unwrap()][..], b"%2F%1"].concat();
            [
                frame(4, 0, b"\x41\x01%23"),
                frame(1, 0x28, &[&prefix, &block[..cut], padding].concat()),
                frame(9, 0, b""),
                frame(9, 4, &block[cut..]),
                frame(0, 1, b"\x41\x01%data"),
                frame(1, 0x08, &[&[0][..], block].concat()),
                frame(1, 0x20, &[b"%2F%1", block].concat()),
            ]
            .concat()
        };
        let sent = stream(&block);
        assert_eq!(passed(&sent, sent.len()), stream(&expected), "cut at {cut}");
    }
}

#[test]
fn every_block_is_followed_not_only_the_first() {
    let stream = |second: &[u8]| {
        let blocks = [field(KINDS[0], Name::Indexed, b"localhost", false), b"\xbe".to_vec(), second.to_vec()];
        blocks.iter().flat_map(|block| frame(1, 4, block)).collect::<Vec<u8>>()
    };
    let sent = stream(&field(KINDS[0], Name::Indexed, b"/x", false));
    assert_eq!(passed(&sent, 5), stream(&field(KINDS[0], Name::Indexed, b"-x", false)));
}

/// Frames whose heads are right and whose payloads are anything.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::collection::vec(
        (
            0..3usize,
            0..3u8,
            prop::collection::vec(prop::sample::select(&b"/%:aZ09-.~@"[..]), 0..200),
            any::<bool>(),
        ),
        0..4,
    )
    .prop_map(|fields| {
        let name = [Name::Indexed, Name::Plain, Name::Coded];
        fields
            .iter()
            .flat_map(|(kind, n, value, coded)| field(KINDS[*kind], name[usize::from(*n)], value, *coded))
            .collect()
    });
    let payload = prop_oneof![prop::collection::vec(any::<u8>(), 0..80), fields];
    prop::collection::vec((0..11u8, any::<u8>(), payload), 0..8).prop_map(|frames| {
        frames.iter().flat_map(|(kind, flags, payload)| frame(*kind, *flags, payload)).collect()
    })
}

proptest! {
    /// Where a read ends makes no difference; what was not read is not touched.
    #[test]
    fn split_anywhere(sent in frames(), step in 1..40usize) {
        let whole = passed(&sent, sent.len().max(1));
        prop_assert_eq!(whole.len(), sent.len());
        prop_assert_eq!(passed(&sent, 1), whole.clone());
        prop_assert_eq!(passed(&sent, step), whole);
    }

    /// A connection that is no HTTP/2, or breaks off anywhere.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), step in 1..40usize) {
        prop_assert_eq!(passed(&bytes, step), passed(&bytes, bytes.len().max(1)));
    }

    /// Data is not touched, whatever it looks like.
    #[test]
    fn data(payload in prop::collection::vec(any::<u8>(), 0..400), step in 1..40usize) {
        let sent = frame(0, 0, &payload);
        prop_assert_eq!(passed(&sent, step), sent);
    }
}
