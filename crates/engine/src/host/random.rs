//! Random ids.

use rustix::rand::{GetRandomFlags, getrandom};

/// 32 random bytes. The kernel's generator does not fail once the machine has booted.
pub fn bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}
