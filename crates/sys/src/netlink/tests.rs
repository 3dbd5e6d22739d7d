use super::*;

/// A reply as the kernel sends it: kind 16 is an interface, 3 the end of a list.
fn reply(kind: u16, flags: u16, sequence: u32) -> Reply {
    let mut bytes = 20_u32.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    message::replies(&bytes).next().unwrap()
}

#[test]
fn a_list_that_changed_half_way_is_refused_as_a_whole() {
    const DISTURBED: u16 = 0x10;
    for (flags, complete) in [([0, 0, 0], true), ([0, DISTURBED, 0], false), ([0, 0, DISTURBED], false)] {
        let mut pending = Pending { first: 7, waiting: vec![("list", true)] };
        let (mut seen, mut refused) = (0, None);
        for (kind, flags) in [16, 16, 3].into_iter().zip(flags) {
            pending.take(reply(kind, flags, 7), &mut |_| seen += 1, &mut refused).unwrap();
        }
        assert_eq!(pending.open(), None, "it is read to its end");
        assert_eq!(seen, 2);
        let errno = refused.as_ref().and_then(NetlinkError::errno);
        assert_eq!(errno, (!complete).then_some(Errno::INTR), "{flags:?}");
    }
}
