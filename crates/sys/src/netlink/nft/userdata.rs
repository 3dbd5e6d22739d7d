//! What nft(8) keeps beside a set to print it and to read it again: the expressions that its keys are made of. The
//! kernel hands it back as it is.
//!
//! Nested entries of type (a byte), length (a byte) and value; numbers have 32 bits in host order.

use super::expr::Part;

/// In a set: the expression that its keys are.
const KEY_TYPEOF: u8 = 3;
/// The order of the bytes of keys: not said.
const KEY_BYTE_ORDER: u8 = 0;
/// In an expression: its kind and what belongs to it.
const EXPR: u8 = 0;
const DATA: u8 = 1;
/// Kinds of expressions.
const PAYLOAD: u32 = 7;
const META: u32 = 9;
const CONCATENATION: u32 = 13;

const META_IIFNAME: u32 = 6;

fn entry(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u8::try_from(value.len()).expect("the descriptions here are short");
    [&[kind, len], value].concat()
}

fn number(kind: u8, value: u32) -> Vec<u8> {
    entry(kind, &value.to_ne_bytes())
}

fn expr(kind: u32, data: &[u8]) -> Vec<u8> {
    [number(EXPR, kind), entry(DATA, data)].concat()
}

/// Keys of the name of an interface and some bytes of a packet.
pub(super) fn iifname_and(part: Part) -> Vec<u8> {
    // nft(8) counts headers from 1, and bits.
    let payload = [
        number(0, 0), // no header that it has a description of
        number(1, 0), // and no field of one
        number(2, part.header as u32 + 1),
        number(3, part.offset * 8),
        number(4, part.len * 8),
    ];
    let fields =
        [entry(0, &expr(META, &number(0, META_IIFNAME))), entry(1, &expr(PAYLOAD, &payload.concat()))];
    [number(KEY_BYTE_ORDER, 0), entry(KEY_TYPEOF, &expr(CONCATENATION, &fields.concat()))].concat()
}
