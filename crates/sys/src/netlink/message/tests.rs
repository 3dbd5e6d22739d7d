use super::*;

#[test]
fn attributes_are_padded_and_read_back() {
    let inner = Attrs::new().u32(1, 7).text(2, "ab");
    let outer = Attrs::new().put(3, &[9]).nest(4, &inner).be32(5, 1);
    assert_eq!(outer.as_bytes()[..8], [5, 0, 3, 0, 9, 0, 0, 0]);
    let list: Vec<_> = AttrIter::of(outer.as_bytes()).collect();
    assert_eq!(list[0], (3, &[9][..]));
    assert_eq!(list[1].0, 4, "the nested bit is not part of the type");
    assert_eq!(list[2], (5, &[0, 0, 0, 1][..]));
    let inner = AttrIter::of(list[1].1);
    assert_eq!(inner.clone().get(1).and_then(u32_of), Some(7));
    assert_eq!(inner.get(2).map(text_of).as_deref(), Some("ab"));
}

#[test]
fn a_message_has_its_length_and_sequence() {
    let message = Message::new("test", 20, ACK, &[1, 2, 3, 4, 5], Attrs::new().u32(1, 2));
    let mut bytes = Vec::new();
    message.write(9, &mut bytes);
    assert_eq!(bytes.len(), message.len());
    assert_eq!(bytes.len(), 16 + 8 + 8);
    let reply = replies(&bytes).next().unwrap();
    assert_eq!((reply.kind(), reply.sequence()), (20, 9));
    assert_eq!(reply.attrs(5).get(1).and_then(u32_of), Some(2));
}

#[test]
fn truncated_input_ends_the_list() {
    let mut bytes = Vec::new();
    Message::new("test", 20, ACK, &[], Attrs::new().put(1, &[1; 9])).write(1, &mut bytes);
    for cut in 0..bytes.len() {
        assert_eq!(replies(&bytes[..cut]).count(), 0, "{cut}");
    }
    let attrs = Attrs::new().put(1, &[1; 9]);
    for cut in 0..13 {
        assert_eq!(AttrIter::of(&attrs.as_bytes()[..cut]).count(), 0, "{cut}");
    }
    assert_eq!(AttrIter::of(&[0, 0, 1, 0]).count(), 0, "a length below the header's is no loop");
}
