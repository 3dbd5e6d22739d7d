//! A compact list of paths: each says how many bytes it shares with the one before.
//!
//! It comes from a process that a layer may have taken over, so it is as small in memory as it was on its way, and what it
//! would be at full length is bounded before it is used.

use serde::{Deserialize, Serialize};

/// The most bytes of a path: what the kernel takes at a time, without the byte at its end.
pub(crate) const MAX_PATH: usize = 4095;

/// For each path: u16 shared bytes, u16 length of the rest, the rest; little-endian.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Paths {
    bytes: Vec<u8>,
}

/// The list is not one that [`List::push`] makes.
#[derive(Debug, thiserror::Error)]
#[error("a malformed list of paths")]
pub(crate) struct Malformed;

/// A list that is being made.
#[derive(Debug, Default)]
pub(crate) struct List {
    paths: Paths,
    last: Vec<u8>,
}

impl List {
    /// Adds a path of at most [`MAX_PATH`] bytes.
    pub(crate) fn push(&mut self, path: &[u8]) {
        let shared = self.last.iter().zip(path).take_while(|(a, b)| a == b).count();
        let half = |length: usize| u16::try_from(length).expect("a path is under 4,096 bytes").to_le_bytes();
        self.paths.bytes.extend(half(shared));
        self.paths.bytes.extend(half(path.len() - shared));
        self.paths.bytes.extend_from_slice(&path[shared..]);
        self.last.clear();
        self.last.extend_from_slice(path);
    }
}

impl<P: AsRef<[u8]>> FromIterator<P> for Paths {
    fn from_iter<I: IntoIterator<Item = P>>(paths: I) -> Self {
        let mut list = List::default();
        for path in paths {
            list.push(path.as_ref());
        }
        list.paths
    }
}

impl Paths {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The paths, in order.
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.bytes, last: Vec::new() }
    }

    /// Checks the list, and returns the bytes of all paths together.
    pub(crate) fn check(&self) -> Result<u64, Malformed> {
        let mut iter = self.iter();
        let mut total = 0;
        while iter.advance().ok_or(Malformed)? {
            let good = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
            if iter.last.len() > MAX_PATH
                || !iter.last.is_empty() && !iter.last.split(|b| *b == b'/').all(good)
            {
                return Err(Malformed);
            }
            total += iter.last.len() as u64 + 1;
        }
        Ok(total)
    }
}

/// See [`Paths::iter`]. A malformed list ends where it is malformed.
#[derive(Debug)]
pub(crate) struct Iter<'a> {
    rest: &'a [u8],
    last: Vec<u8>,
}

impl Iter<'_> {
    /// Makes the next path the last one; false at the end, `None` when it is malformed.
    fn advance(&mut self) -> Option<bool> {
        if self.rest.is_empty() {
            return Some(false);
        }
        let (shared, rest) = self.rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let shared = usize::from(u16::from_le_bytes(*shared));
        let (new, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        self.last.get(..shared)?;
        self.last.truncate(shared);
        self.last.extend_from_slice(new);
        self.rest = rest;
        Some(true)
    }
}

impl Iterator for Iter<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.advance()?.then(|| self.last.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn paths_come_back(paths in proptest::collection::vec("[ab]{1,3}(/[ab]{1,3}){0,5}", 0..30)) {
            let list: Paths = paths.iter().collect();
            prop_assert!(list.iter().eq(paths.iter().map(|path| path.as_bytes().to_vec())));
            prop_assert_eq!(list.check().unwrap(), paths.iter().map(|path| path.len() as u64 + 1).sum::<u64>());
            prop_assert_eq!(list.is_empty(), paths.is_empty());
        }

        #[test]
        fn any_bytes_are_a_list_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let list = Paths { bytes };
            if let Ok(total) = list.check() {
                prop_assert_eq!(list.iter().map(|path| path.len() as u64 + 1).sum::<u64>(), total);
            }
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for bad in ["/etc", "a//b", "a/", "..", "a/../b", ".", "a\0", &"a".repeat(MAX_PATH + 1)] {
            let list: Paths = [bad].into_iter().collect();
            assert!(list.check().is_err(), "{bad:?}");
        }
        let good: Paths = ["", "..a", "a/b...", &"a".repeat(MAX_PATH)].into_iter().collect();
        assert!(good.check().is_ok());
    }

    #[test]
    fn a_deep_chain_takes_little_room() {
        let deep: Paths = (1..2000).map(|depth| "a/".repeat(depth)[..2 * depth - 1].to_owned()).collect();
        assert!(deep.bytes.len() < 2000 * 6);
    }
}
