//! The keys that leave a container: Ctrl-P, then Ctrl-Q, as docker and podman have them.

/// Ctrl-P.
const FIRST: u8 = 0x10;
/// Ctrl-Q.
const SECOND: u8 = 0x11;

/// What was typed, with the keys taken out.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The first key was typed, and is held back until the next one.
    held: bool,
}

impl Keys {
    /// The bytes to pass on, and whether the keys were typed: what follows them is nobody's.
    pub(super) fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for byte in typed {
            match (std::mem::take(&mut self.held), *byte) {
                (true, SECOND) => return (passed, true),
                (held, byte) => {
                    passed.extend(held.then_some(FIRST));
                    if byte == FIRST {
                        self.held = true;
                    } else {
                        passed.push(byte);
                    }
                }
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_both_keys_leave() {
        for (typed, passed, left) in [
            (&[&b"abc"[..]][..], &b"abc"[..], false),
            (&[b"a\x10\x11b"], b"a", true),
            (&[b"a\x10", b"\x11b"], b"a", true),
            (&[b"\x10", b"b"], b"\x10b", false),
            (&[b"\x10\x10\x11"], b"\x10", true),
            (&[b"\x11\x10"], b"\x11", false),
        ] {
            let mut keys = Keys::default();
            let (mut all, mut over) = (Vec::new(), false);
            for part in typed {
                let (more, leaves) = keys.take(part);
                all.extend(more);
                over |= leaves;
            }
            assert_eq!((all.as_slice(), over), (passed, left), "{typed:?}");
        }
    }
}
