//! The sizes of a terminal that a client sends: JSON objects, one after the other.

use crate::wire::{Incoming, Item};

/// The longest text of one size that is looked at.
const MAX: usize = 1 << 10;

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Size {
    width: u16,
    height: u16,
}

/// Reads sizes as they come.
#[derive(Debug)]
pub(crate) struct Sizes {
    from: Incoming,
    text: Vec<u8>,
}

impl Sizes {
    pub(crate) fn new(from: Incoming) -> Self {
        Self { from, text: Vec::new() }
    }

    /// The newest size of those that have come, as rows and columns. None when no more come, or what comes is no size.
    pub(crate) async fn next(&mut self) -> Option<(u16, u16)> {
        loop {
            if let Some(size) = self.take().ok()? {
                return Some(size);
            }
            match self.from.next().await? {
                Item::Data(bytes) => self.text.extend_from_slice(&bytes),
                Item::Fin | Item::Reset => return None,
            }
        }
    }

    /// The last size of what has come. One without a side is none.
    fn take(&mut self) -> Result<Option<(u16, u16)>, ()> {
        let mut objects = serde_json::Deserializer::from_slice(&self.text).into_iter::<Size>();
        let (mut last, mut read) = (None, 0);
        let end = loop {
            match objects.next() {
                Some(Ok(size)) if size.width > 0 && size.height > 0 => last = Some((size.height, size.width)),
                Some(Ok(_)) => {}
                Some(Err(e)) => break Err(e),
                None => break Ok(()),
            }
            read = objects.byte_offset();
        };
        let is_whole = match end {
            Ok(()) => true,
            Err(e) => e.is_eof() && self.text.len() - read < MAX,
        };
        drop(self.text.drain(..read));
        if last.is_some() || is_whole { Ok(last) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::queue;

    #[tokio::test]
    async fn sizes_are_read_across_pieces_until_something_else_comes() {
        let (feeder, incoming, _) = queue();
        let mut sizes = Sizes::new(incoming);
        for piece in
            [r#"{"Width":80,"#, r#""Height":24}{"Width":1,"Height":2}"#, "\n", r#"{"Width":0,"Height":9}"#]
        {
            feeder.give(Item::Data(Bytes::from_static(piece.as_bytes()))).await;
        }
        assert_eq!(sizes.next().await, Some((2, 1)), "the newest of what is there");
        feeder.give(Item::Data(Bytes::from_static(br#"{"Height":3,"Width":4,"Other":[]}"#))).await;
        assert_eq!(sizes.next().await, Some((3, 4)), "one without a side is passed over");
        feeder.give(Item::Data(Bytes::from_static(b"x"))).await;
        assert_eq!(sizes.next().await, None);
    }

    #[tokio::test]
    async fn a_size_without_end_is_none() {
        let (feeder, incoming, _) = queue();
        let mut sizes = Sizes::new(incoming);
        feeder.give(Item::Data(Bytes::from_static(b"{\"Width\":"))).await;
        feeder.give(Item::Data(Bytes::from(vec![b' '; MAX]))).await;
        assert_eq!(sizes.next().await, None);
    }
}
