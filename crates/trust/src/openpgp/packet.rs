//! Packets: their headers, in both forms, and lengths.

pub(super) const SIGNATURE: u8 = 2;
pub(super) const ONE_PASS: u8 = 4;
pub(super) const PUBLIC_KEY: u8 = 6;
pub(super) const COMPRESSED: u8 = 8;
pub(super) const LITERAL: u8 = 11;
pub(super) const USER_ID: u8 = 13;
pub(super) const PUBLIC_SUBKEY: u8 = 14;
pub(super) const USER_ATTRIBUTE: u8 = 17;

/// The most packets of a file.
const MAX_PACKETS: usize = 10_000;

/// A packet.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
}

/// Reads from the front of some bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn number(&mut self, bytes: usize) -> Result<usize, String> {
        let value = self.take(bytes)?.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| "a length is too large".to_owned())
    }

    /// A number of any size: its bits, then its bytes.
    pub(super) fn mpi(&mut self) -> Result<&'a [u8], String> {
        let bits = self.number(2)?;
        self.take(bits.div_ceil(8))
    }
}

/// All packets.
pub(super) fn packets(bytes: &[u8]) -> Result<Vec<Packet>, String> {
    let mut reader = Reader(bytes);
    let mut packets = Vec::new();
    while !reader.0.is_empty() {
        if packets.len() == MAX_PACKETS {
            return Err(format!("there are more than {MAX_PACKETS} packets"));
        }
        packets.push(packet(&mut reader)?);
    }
    Ok(packets)
}

fn packet(reader: &mut Reader<'_>) -> Result<Packet, String> {
    let first = reader.byte()?;
    match first & 0xc0 {
        0xc0 => Ok(Packet { tag: first & 0x3f, body: new_body(reader)? }),
        0x80 => {
            let length = match first & 3 {
                3 => reader.0.len(),
                power => reader.number(1 << power)?,
            };
            Ok(Packet { tag: first >> 2 & 0xf, body: reader.take(length)?.to_vec() })
        }
        _ => Err("it is not OpenPGP".to_owned()),
    }
}

/// A body whose length is known, or comes in parts.
fn new_body(reader: &mut Reader<'_>) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let (length, last) = match usize::from(reader.byte()?) {
            length @ 0..192 => (length, true),
            first @ 192..224 => ((first - 192) * 256 + reader.number(1)? + 192, true),
            power @ 224..255 => (1 << (power & 0x1f), false),
            _ => (reader.number(4)?, true),
        };
        body.extend_from_slice(reader.take(length)?);
        if last {
            return Ok(body);
        }
    }
}
