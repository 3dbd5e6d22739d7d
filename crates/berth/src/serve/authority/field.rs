//! The fields of a header block, byte by byte (RFC 7541): values of `:authority` are changed, all else passes.
//!
//! Left as it is, and refused by the library as before: an empty value; one whose name is taken from the dynamic table,
//! which no encoder does, as the static table has it; in Huffman's code, a character other than a space, `%`, `/` and
//! `:` that may not stand in a host.

/// Where in a header block a byte is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Field {
    /// A field begins.
    #[default]
    Start,
    /// The rest of an index or of a size, after which is `next`.
    Number { next: Next },
    /// The length of a string begins.
    Length { of: Of },
    /// The rest of a length.
    MoreLength { of: Of, coding: Coding, length: u32, shift: u32 },
    /// A string, never with nothing left.
    Text { of: Of, coding: Coding, left: u32 },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    Field,
    String(Of),
}

/// What a string is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    /// A name, of which the first bytes are those of `:authority`; `None` when they are not.
    Name {
        alike: Option<usize>,
    },
    Value {
        authority: bool,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Coding {
    Plain,
    Huffman(Symbol),
}

/// The bits of a symbol in Huffman's code that were read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Symbol {
    code: u32,
    bits: usize,
}

const PLAIN: &[u8] = b":authority";
/// The same in Huffman's code.
const CODED: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];
/// The index of `:authority` in the static table.
const INDEX: u8 = 1;

impl Field {
    /// What becomes of a block's next byte.
    pub(super) fn pass(&mut self, byte: u8) -> u8 {
        let mut passed = byte;
        *self = match *self {
            Self::Start => start(byte),
            Self::Number { next } if byte & 0x80 == 0 => next.begin(),
            Self::Number { next } => Self::Number { next },
            Self::Length { of } => {
                let coding =
                    if byte & 0x80 == 0 { Coding::Plain } else { Coding::Huffman(Symbol::default()) };
                match u32::from(byte & 0x7f) {
                    0x7f => Self::MoreLength { of, coding, length: 0x7f, shift: 0 },
                    length => text(of, coding, length),
                }
            }
            Self::MoreLength { of, coding, length, shift } => {
                // The library reads no length that would not fit.
                let more = u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
                let length = length.saturating_add(more);
                match byte & 0x80 {
                    0 => text(of, coding, length),
                    _ => Self::MoreLength { of, coding, length, shift: shift.saturating_add(7) },
                }
            }
            Self::Text { mut of, mut coding, left } => {
                match &mut of {
                    Of::Name { alike } => {
                        *alike = alike.filter(|at| coding.name().get(*at) == Some(&byte)).map(|at| at + 1)
                    }
                    Of::Value { authority: true } => passed = coding.host(byte),
                    Of::Value { authority: false } => {}
                }
                text(of, coding, left - 1)
            }
        };
        passed
    }
}

impl Next {
    fn begin(self) -> Field {
        match self {
            Self::Field => Field::Start,
            Self::String(of) => Field::Length { of },
        }
    }
}

/// The first byte of a field says what it is; its last bits are an index or a size.
fn start(byte: u8) -> Field {
    let (mask, literal) = match byte {
        0x80.. => (0x7f, false),
        0x40..0x80 => (0x3f, true),
        0x20..0x40 => (0x1f, false),
        _ => (0x0f, true),
    };
    let next = match byte & mask {
        _ if !literal => Next::Field,
        0 => Next::String(Of::Name { alike: Some(0) }),
        index => Next::String(Of::Value { authority: index == INDEX }),
    };
    // An index that goes on in the next bytes is a large one.
    if byte & mask == mask { Field::Number { next } } else { next.begin() }
}

/// A string of which `left` bytes are to come, or what follows it.
fn text(of: Of, coding: Coding, left: u32) -> Field {
    match of {
        _ if left > 0 => Field::Text { of, coding, left },
        Of::Name { alike } => {
            Field::Length { of: Of::Value { authority: alike == Some(coding.name().len()) } }
        }
        Of::Value { .. } => Field::Start,
    }
}

impl Coding {
    /// `:authority`.
    fn name(self) -> &'static [u8] {
        match self {
            Self::Plain => PLAIN,
            Self::Huffman(_) => CODED,
        }
    }

    /// The same byte, or one in its place that may stand in a host.
    fn host(&mut self, byte: u8) -> u8 {
        match self {
            Self::Plain => host(byte),
            Self::Huffman(symbol) => {
                (0..8).rev().fold(0, |passed, shift| passed << 1 | symbol.host(byte >> shift & 1))
            }
        }
    }
}

/// RFC 3986's characters of a host's name; colons and brackets are not among them, as the library counts those.
fn host(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => byte,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => byte,
        _ => b'-',
    }
}

/// The codes of a length are numbers below these (RFC 7541, appendix B), and no longer code begins with one of them.
const ENDS: [u32; 16] =
    [0, 0, 0, 0, 0, 0x0a, 0x2e, 0x7c, 0xfe, 0, 0x3fd, 0x7fd, 0xffc, 0x1ffe, 0x3ffe, 0x7fff];

impl Symbol {
    /// What becomes of the next bit. A symbol is changed in its last bits alone, at a place where all symbols
    /// that begin like it would be refused too: its first bits may have been passed on long ago.
    fn host(&mut self, bit: u8) -> u8 {
        // Longer symbols are no characters of a host, and what follows them was not followed.
        let Some(_) = ENDS.get(self.bits + 1) else { return bit };
        self.code = self.code << 1 | u32::from(bit);
        self.bits += 1;
        let swap = match (self.bits, self.code) {
            // A space (01010'0) or % (01010'1) becomes - (01011'0) or . (01011'1).
            (5, 0b01010) => 1,
            // / (01100'0) becomes 3 (01100'1).
            (6, 0b011000) => 1,
            // : (101110'0) becomes B (101110'1).
            (7, 0b1011100) => 1,
            _ => 0,
        };
        if self.code < ENDS[self.bits] {
            *self = Self::default();
        }
        bit | swap
    }
}
