//! Domain names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The most bytes of a name with the lengths of its labels (RFC 1035).
pub const MAX_NAME: usize = 255;
/// The most bytes of a label.
const MAX_LABEL: usize = 63;
/// The most pointers that a name of a message goes through.
const MAX_JUMPS: usize = 16;

/// A domain name in lower case, as it is on the wire: labels with their lengths before them, then a zero.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Vec<u8>);

/// Why something is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has more than 255 bytes, or a label of more than 63.
    #[error("the name is too long")]
    TooLong,
    /// A label is empty.
    #[error("a label of the name is empty")]
    Empty,
    /// The message ends within it.
    #[error("the message ends within a name")]
    Short,
    /// A pointer that does not lead back, or too many of them.
    #[error("a name has a pointer that leads nowhere")]
    Pointer,
}

impl Name {
    /// The name of which all are a part.
    pub fn root() -> Self {
        Self(vec![0])
    }

    /// Reads a name at `at` of a message; gives it and where it ends. `pointers` says whether parts of it may be elsewhere.
    pub fn read(message: &[u8], at: usize, pointers: bool) -> Result<(Self, usize), NameError> {
        let (mut bytes, mut at, mut end, mut jumps) = (Vec::new(), at, None, 0);
        loop {
            let length = usize::from(*message.get(at).ok_or(NameError::Short)?);
            match length {
                0 => {
                    bytes.push(0);
                    return Ok((Self(bytes), end.unwrap_or(at + 1)));
                }
                1..=MAX_LABEL => {
                    let label = message.get(at + 1..at + 1 + length).ok_or(NameError::Short)?;
                    if bytes.len() + length + 2 > MAX_NAME {
                        return Err(NameError::TooLong);
                    }
                    bytes.push(message[at]);
                    bytes.extend(label.iter().map(u8::to_ascii_lowercase));
                    at += 1 + length;
                }
                0xc0..=0xff if pointers => {
                    let low = *message.get(at + 1).ok_or(NameError::Short)?;
                    let target = (length & 0x3f) << 8 | usize::from(low);
                    jumps += 1;
                    if target >= at || jumps > MAX_JUMPS {
                        return Err(NameError::Pointer);
                    }
                    end.get_or_insert(at + 2);
                    at = target;
                }
                _ => return Err(NameError::Pointer),
            }
        }
    }

    /// As it is on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The labels, the leftmost first.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (label, next) =
                after.split_at_checked(usize::from(*length)).filter(|(l, _)| !l.is_empty())?;
            rest = next;
            Some(label)
        })
    }

    /// The name without its leftmost label; nothing of the root.
    pub fn parent(&self) -> Option<Self> {
        let length = usize::from(self.0[0]);
        (length > 0).then(|| Self(self.0[1 + length..].to_vec()))
    }

    /// Whether it is `other` or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        let mut at = 0;
        loop {
            if self.0[at..] == other.0 {
                return true;
            }
            match usize::from(self.0[at]) {
                0 => return false,
                length => at += 1 + length,
            }
        }
    }

    /// The name by which the name of an address is asked for.
    pub fn of_address(address: IpAddr) -> Self {
        let text = match address {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(ip) => {
                let nibbles = ip.octets().into_iter().rev();
                let digits: String = nibbles.map(|b| format!("{:x}.{:x}.", b & 15, b >> 4)).collect();
                format!("{digits}ip6.arpa")
            }
        };
        text.parse().expect("short labels")
    }

    /// The address whose name is asked for by this one; nothing where it is no whole address.
    pub fn address(&self) -> Option<IpAddr> {
        let labels: Vec<&[u8]> = self.labels().collect();
        let text = |label: &[u8]| std::str::from_utf8(label).ok().map(str::to_owned);
        match labels.as_slice() {
            [parts @ .., b"in-addr", b"arpa"] if parts.len() == 4 => {
                let mut octets = [0; 4];
                for (octet, part) in octets.iter_mut().rev().zip(parts) {
                    *octet = text(part)?.parse().ok()?;
                }
                Some(Ipv4Addr::from(octets).into())
            }
            [parts @ .., b"ip6", b"arpa"] if parts.len() == 32 => {
                let mut bits = 0_u128;
                for part in parts.iter().rev() {
                    let digit = text(part).filter(|text| text.len() == 1)?;
                    bits = bits << 4 | u128::from_str_radix(&digit, 16).ok()?;
                }
                Some(Ipv6Addr::from_bits(bits).into())
            }
            _ => None,
        }
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// A name with or without a dot at its end. There are no escapes.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut bytes = Vec::with_capacity(text.len() + 2);
        for label in text.split('.').filter(|_| !text.is_empty()) {
            if label.is_empty() {
                return Err(NameError::Empty);
            }
            let length = u8::try_from(label.len()).ok().filter(|l| usize::from(*l) <= MAX_LABEL);
            bytes.push(length.ok_or(NameError::TooLong)?);
            bytes.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
        }
        bytes.push(0);
        if bytes.len() > MAX_NAME { Err(NameError::TooLong) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in self.labels() {
            write!(f, "{}.", label.escape_ascii())?;
        }
        if self.0.len() == 1 { f.write_str(".") } else { Ok(()) }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
