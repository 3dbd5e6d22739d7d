use super::*;

fn take(channels: &mut Channels, pieces: &[&[u8]]) -> io::Result<Vec<(u8, Item)>> {
    let mut items = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        let (first, last) = (n == 0, n + 1 == pieces.len());
        items.extend(channels.take(Bytes::copy_from_slice(piece), first, last)?);
    }
    Ok(items)
}

fn data(channel: u8, bytes: &'static [u8]) -> (u8, Item) {
    (channel, Item::Data(Bytes::from_static(bytes)))
}

#[test]
fn the_first_byte_of_a_message_is_its_channel() {
    let (mut channels, incoming) = Channels::new(5, Coding::Binary, true, |n| n == 0 || n == 4);
    assert_eq!(incoming.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false, false, true]);
    assert_eq!(take(&mut channels, &[b"\0abc"]).unwrap(), [data(0, b"abc")]);
    assert_eq!(take(&mut channels, &[b"\x04", b"ab", b"c"]).unwrap(), [data(4, b"ab"), data(4, b"c")]);
    assert_eq!(take(&mut channels, &[b"", b"\x09x"]).unwrap(), [data(9, b"x")]);
    assert_eq!(take(&mut channels, &[b""]).unwrap(), []);
    assert_eq!(take(&mut channels, &[b"\0"]).unwrap(), []);
}

#[test]
fn a_channel_is_closed_by_a_message_of_its_own() {
    let (mut channels, _incoming) = Channels::new(5, Coding::Binary, true, |_| true);
    assert_eq!(take(&mut channels, &[b"\xff\0"]).unwrap(), [(0, Item::Fin)]);
    assert_eq!(take(&mut channels, &[b"\xff", b"\x04"]).unwrap(), [(4, Item::Fin)]);
    let (mut channels, _incoming) = Channels::new(5, Coding::Binary, false, |_| true);
    assert_eq!(take(&mut channels, &[b"\xff\0"]).unwrap(), [data(255, b"\0")], "before v5 it is a channel");
}

#[test]
fn text_is_decoded_across_the_pieces_of_a_message() {
    let (mut channels, _incoming) = Channels::new(5, Coding::Base64, false, |_| true);
    assert_eq!(take(&mut channels, &[b"0Zm9vCg=="]).unwrap(), [data(0, b"foo\n")]);
    let parts = take(&mut channels, &[b"0Z", b"m9vC", b"g=="]).unwrap();
    let joined: Vec<u8> = parts
        .into_iter()
        .flat_map(|(_, item)| match item {
            Item::Data(bytes) => bytes.to_vec(),
            Item::Fin | Item::Reset => panic!("no data"),
        })
        .collect();
    assert_eq!(joined, b"foo\n");
    assert!(take(&mut channels, &[b"0???"]).is_err());
    assert!(take(&mut channels, &[b"0Zm9vC"]).is_err(), "it ends within a group");
    assert_eq!(take(&mut channels, &[b"0Zm9v"]).unwrap(), [data(0, b"foo")], "and the next is read");
}
