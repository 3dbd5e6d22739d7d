//! Blocks of addresses in CIDR form.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A text that is not a block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {family} block: {reason}")]
pub struct ParseCidrError {
    /// What was given.
    pub text: String,
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

macro_rules! cidr {
    ($(#[$doc:meta])* $name:ident, $addr:ty, $bits:ty, $width:literal, $family:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name {
            base: $addr,
            prefix: u8,
        }

        impl $name {
            /// The block of this length that `addr` is in; `None` when the length is too large.
            pub const fn new(addr: $addr, prefix: u8) -> Option<Self> {
                if prefix > $width {
                    return None;
                }
                let base = <$addr>::from_bits(addr.to_bits() & Self::mask(prefix));
                Some(Self { base, prefix })
            }

            const fn mask(prefix: u8) -> $bits {
                if prefix == 0 { 0 } else { <$bits>::MAX << ($width - prefix) }
            }

            /// The first address.
            pub const fn base(&self) -> $addr {
                self.base
            }

            /// The number of leading bits that all addresses share.
            pub const fn prefix(&self) -> u8 {
                self.prefix
            }

            /// Whether `addr` is inside.
            pub const fn contains(&self, addr: $addr) -> bool {
                addr.to_bits() & Self::mask(self.prefix) == self.base.to_bits()
            }

            /// Whether the two have an address in common.
            pub const fn overlaps(&self, other: &Self) -> bool {
                self.contains(other.base) || other.contains(self.base)
            }

            /// The address at `offset`; `None` when that is outside.
            pub fn nth(&self, offset: u32) -> Option<$addr> {
                let bits = self.base.to_bits().checked_add(<$bits>::from(offset))?;
                let addr = <$addr>::from_bits(bits);
                self.contains(addr).then_some(addr)
            }
        }

        impl FromStr for $name {
            type Err = ParseCidrError;
            fn from_str(text: &str) -> Result<Self, ParseCidrError> {
                let error = |reason| ParseCidrError { text: text.to_owned(), family: $family, reason };
                let (addr, prefix) = text.split_once('/').ok_or_else(|| error("expected an address, / and a length"))?;
                let addr: $addr = addr.parse().map_err(|_| error("the address is malformed"))?;
                let prefix: u8 = prefix.parse().map_err(|_| error("the length is not a number"))?;
                Self::new(addr, prefix).ok_or_else(|| error(concat!("the length is above ", $width)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.base, self.prefix)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

cidr! {
    /// A block of IPv4 addresses. Bits behind the prefix are cleared.
    Cidr4, Ipv4Addr, u32, 32, "IPv4"
}
cidr! {
    /// A block of IPv6 addresses. Bits behind the prefix are cleared.
    Cidr6, Ipv6Addr, u128, 128, "IPv6"
}

/// A block of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cidr {
    /// Of IPv4.
    V4(Cidr4),
    /// Of IPv6.
    V6(Cidr6),
}

impl FromStr for Cidr {
    type Err = ParseCidrError;
    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        if text.contains(':') { text.parse().map(Self::V6) } else { text.parse().map(Self::V4) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(block) => block.fmt(f),
            Self::V6(block) => block.fmt(f),
        }
    }
}

impl Cidr4 {
    /// The offset of `addr` in the block; `None` when it is outside.
    pub fn offset(&self, addr: Ipv4Addr) -> Option<u32> {
        self.contains(addr).then(|| addr.to_bits() - self.base.to_bits())
    }

    /// How many addresses pods can have: all but the network's, the gateway's (the first) and the
    /// broadcast address.
    pub fn pods(&self) -> u32 {
        (u32::MAX >> self.prefix.min(31)).saturating_sub(2)
    }
}

#[cfg(test)]
mod tests;
