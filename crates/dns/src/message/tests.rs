use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A query with EDNS as dig sends it.
fn with_edns(mut query: Vec<u8>, size: u16, version: u8) -> Vec<u8> {
    query[11] = 1;
    query.extend_from_slice(&[0, 0, 41]);
    query.extend_from_slice(&size.to_be_bytes());
    query.extend_from_slice(&[0, version, 0, 0, 0, 0]);
    query
}

#[test]
fn a_query_is_read_with_edns_and_without() {
    let plain = ask(7, &name("web.default.svc.cluster.local"), kind::A);
    let read = query(&plain).unwrap();
    assert_eq!((read.id, read.kind, read.udp, read.edns, read.recursion), (7, 1, 512, false, true));
    for (size, taken) in [(0, 512), (1000, 1000), (4096, 1232)] {
        let read = query(&with_edns(plain.clone(), size, 0)).unwrap();
        assert_eq!((read.udp, read.edns), (taken, true));
    }
    assert!(matches!(query(&with_edns(plain, 4096, 1)), Err(Bad::Version(_))));
}

#[test]
fn what_is_no_query_is_refused_or_ignored() {
    let good = ask(7, &name("web"), kind::A);
    let but = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        query(&bytes)
    };
    let refuse = |bits, rcode| Err(Bad::Refuse { id: 7, bits, rcode });
    assert_eq!(but(2, 0x81), Err(Bad::Ignore));
    assert_eq!(but(2, 0x29), refuse(0x29, Rcode::NotImp));
    assert_eq!(but(5, 0), refuse(1, Rcode::FormErr));
    assert_eq!(but(5, 2), refuse(1, Rcode::FormErr));
    assert_eq!(but(7, 1), refuse(1, Rcode::FormErr));
    assert_eq!(but(12, 0xc0), refuse(1, Rcode::FormErr));
    let class = good.len() - 1;
    assert_eq!(but(class, 3), refuse(1, Rcode::Refused));
    for short in 0..12 {
        assert_eq!(query(&good[..short]), Err(Bad::Ignore));
    }
    for short in 12..good.len() {
        assert_eq!(query(&good[..short]), refuse(1, Rcode::FormErr));
    }
    // Two of what there may be one of.
    let mut twice = with_edns(with_edns(good.clone(), 512, 0), 512, 0);
    twice[11] = 2;
    assert_eq!(query(&twice), refuse(1, Rcode::FormErr));
    let mut long = good;
    long.resize(MAX_QUERY + 1, 0);
    assert_eq!(query(&long), refuse(1, Rcode::FormErr));
}

#[test]
fn an_answer_repeats_the_question_and_says_when_it_is_not_all() {
    let asked = with_edns(ask(7, &name("Web"), kind::A), 600, 0);
    let mut asked = asked;
    asked[13] = b'W';
    let read = query(&asked).unwrap();
    let mut answer = Answer::new(&read, &asked, read.udp).authoritative();
    for i in 0..10 {
        answer.answer(&read.name, kind::A, 5, &[10, 0, 0, i]);
    }
    let whole = answer.finish();
    assert!(answers(&asked, &whole));
    assert_eq!(whole[12..17], *b"\x03Web\0");
    let back = super::reply(&whole).unwrap();
    assert_eq!((back.rcode, back.truncated, back.answers.len()), (0, false, 10));
    assert_eq!(back.answers[3].name, name("web"));
    assert_eq!(whole[back.answers[3].data.clone()], [10, 0, 0, 3]);

    let mut answer = Answer::new(&read, &asked, read.udp);
    for i in 0..100 {
        answer.answer(&read.name, kind::A, 5, &[10, 0, 0, i]);
    }
    answer.additional(&read.name, kind::A, 5, &[1; 4]);
    let cut = answer.finish();
    let back = super::reply(&cut).unwrap();
    assert!(back.truncated && cut.len() <= 600 && cut.len() > 570, "{}", cut.len());
    assert_eq!(cut[10..12], [0, 1]);
}

proptest! {
    /// Whatever comes: it is answered within the limits or not at all, and the answer has its number.
    #[test]
    fn any_bytes_get_a_bounded_answer(bytes in prop::collection::vec(any::<u8>(), 0..6000), limit in 512_usize..2000) {
        match query(&bytes) {
            Ok(read) | Err(Bad::Version(read)) => {
                let answer = Answer::new(&read, &bytes, limit).finish();
                prop_assert!(answer.len() <= limit.max(512));
                prop_assert!(super::reply(&answer).is_ok());
            }
            Err(Bad::Refuse { id, bits, rcode }) => prop_assert_eq!(refusal(id, bits, rcode).len(), 12),
            Err(Bad::Ignore) => {}
        }
    }

    /// Bytes that are a query but for one place.
    #[test]
    fn a_damaged_query_is_read_within_its_end(at in 0_usize..60, byte: u8, cut in 0_usize..60, edns: bool) {
        let mut bytes = ask(1, &name("web.default.svc.cluster.local"), kind::SRV);
        if edns {
            bytes = with_edns(bytes, 4096, 0);
        }
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Ok(read) = query(&bytes) {
            prop_assert!(read.question.end <= bytes.len());
        }
    }

    #[test]
    fn any_reply_is_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        if let Some(high) = bytes.get_mut(2) {
            *high |= 0x80;
        }
        if let Ok(read) = super::reply(&bytes) {
            prop_assert!(read.answers.iter().all(|record| record.data.end <= bytes.len()));
        }
        let asked = ask(1, &name("a.b"), kind::A);
        prop_assert!(!answers(&asked, &bytes) || bytes.starts_with(&asked[..2]));
    }
}
