use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;

/// Compresses headers as a client does.
struct Client(Compress);

impl Client {
    fn new() -> Self {
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(&DICTIONARY).unwrap();
        Self(compress)
    }

    fn block(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() + 1024);
        self.0.compress_vec(plain, &mut out, FlushCompress::Sync).unwrap();
        out
    }
}

fn plain(headers: &[(&str, &str)]) -> Vec<u8> {
    let length = |text: &str| u32::try_from(text.len()).unwrap().to_be_bytes();
    let mut plain = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
    for (name, value) in headers {
        plain.extend([&length(name), name.as_bytes(), &length(value), value.as_bytes()].concat());
    }
    plain
}

/// The checksum of RFC 1950.
fn adler(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

#[test]
fn the_dictionary_is_that_of_the_specification() {
    assert_eq!((DICTIONARY.len(), adler(&DICTIONARY)), (1423, 0xe3c6_a7c2));
    assert_eq!(PREFACE[2..], adler(&DICTIONARY).to_be_bytes());
}

#[test]
fn a_reply_without_headers_inflates_to_none_as_often_as_one_likes() {
    let mut inflater = Inflater::default();
    assert_eq!(inflater.read(&[&PREFACE[..], &NO_HEADERS].concat()), Ok(Headers::default()));
    for _ in 0..3 {
        assert_eq!(inflater.read(&NO_HEADERS), Ok(Headers::default()));
    }
}

#[test]
fn headers_are_read_one_stream_after_the_other() {
    let (mut client, mut inflater) = (Client::new(), Inflater::default());
    for kind in ["error", "stdin", "stdout"] {
        let block = client.block(&plain(&[("streamType", kind), ("x", "")]));
        let headers = inflater.read(&block).unwrap();
        assert_eq!(
            (headers.get("streamtype"), headers.get("x"), headers.get("y")),
            (Some(kind), Some(""), None)
        );
    }
    assert_eq!(inflater.read(&client.block(&plain(&[]))), Ok(Headers::default()));
}

#[test]
fn headers_have_limits() {
    let long = "a".repeat(MAX + 1);
    let block = Client::new().block(&plain(&[("name", &long)]));
    assert!(block.len() < 200, "a small frame");
    assert_eq!(Inflater::default().read(&block), Err(SpdyError::TooMuch));
    let many: Vec<_> = (0..=MOST).map(|_| ("a", "b")).collect();
    assert_eq!(Inflater::default().read(&Client::new().block(&plain(&many))), Err(SpdyError::Headers));
    let mut short = plain(&[("name", "value")]);
    short.pop();
    assert_eq!(Inflater::default().read(&Client::new().block(&short)), Err(SpdyError::Headers));
    let mut claims = plain(&[("name", "value")]);
    claims[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(Inflater::default().read(&Client::new().block(&claims)), Err(SpdyError::Headers));
}

#[test]
fn what_is_not_deflate_is_refused() {
    assert_eq!(Inflater::default().read(b"no deflate"), Err(SpdyError::Deflate));
    assert!(Inflater::default().read(b"").is_err());
    // Another dictionary.
    let mut other = Compress::new(Compression::fast(), true);
    other.set_dictionary(b"another").unwrap();
    let mut block = Vec::with_capacity(100);
    other.compress_vec(&plain(&[]), &mut block, FlushCompress::Sync).unwrap();
    assert_eq!(Inflater::default().read(&block), Err(SpdyError::Deflate));
}

proptest! {
    #[test]
    fn any_headers_come_through(headers in prop::collection::vec(("[a-z]{1,20}", "\\PC{0,60}"), 0..20)) {
        let given: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let read = Inflater::default().read(&Client::new().block(&plain(&given))).unwrap();
        prop_assert_eq!(read.0, headers);
    }

    #[test]
    fn any_bytes_are_refused_or_read(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4)) {
        let mut inflater = Inflater::default();
        inflater.read(&Client::new().block(&plain(&[]))).unwrap();
        for block in blocks {
            if inflater.read(&block).is_err() {
                break;
            }
        }
    }
}
