//! The rows of a list in messages of a bounded size: for the streamed lists, which have no other bound.

use prost::Message;

/// A message is sent when its rows have so many bytes.
const ENOUGH: usize = 256 << 10;

/// Parts of a list, each of at least one row. Rows are made as they are sent.
#[derive(Debug)]
pub(crate) struct Chunks<I>(I);

impl<I: Iterator> Chunks<I> {
    pub(crate) fn of(rows: I) -> Self {
        Self(rows)
    }
}

impl<I: Iterator<Item: Message>> Iterator for Chunks<I> {
    type Item = Vec<I::Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while bytes < ENOUGH
            && let Some(row) = self.0.next()
        {
            bytes += row.encoded_len();
            rows.push(row);
        }
        (!rows.is_empty()).then_some(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;

    fn row(number: usize, bytes: usize) -> api::PodSandbox {
        api::PodSandbox { id: number.to_string(), runtime_handler: "x".repeat(bytes), ..Default::default() }
    }

    #[test]
    fn each_row_is_in_one_part_in_its_order_and_no_part_is_empty_or_much_too_large() {
        for (count, bytes) in [(0, 0), (1, 0), (1, 2 * ENOUGH), (1000, 1000), (10, ENOUGH), (5000, 10)] {
            let parts: Vec<_> = Chunks::of((0..count).map(|number| row(number, bytes))).collect();
            assert!(parts.iter().all(|part| !part.is_empty()));
            let size = |part: &Vec<api::PodSandbox>| part.iter().map(Message::encoded_len).sum::<usize>();
            assert!(parts.iter().all(|part| size(part) < ENOUGH + bytes + 100), "{count} rows of {bytes}");
            let ids: Vec<_> = parts.into_iter().flatten().map(|row| row.id).collect();
            assert_eq!(ids, (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
        }
    }
}
