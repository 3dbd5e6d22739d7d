use super::super::Limits;
use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Hands out one byte at a time, as a slow network may.
struct Drops(io::Cursor<Vec<u8>>);

impl Read for Drops {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let length = target.len().min(1);
        self.0.read(&mut target[..length])
    }
}

fn decompress(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let bounds = Limits::default().of_blob(bytes.len() as u64);
    let mut out = Vec::new();
    match super::decompress(Drops(io::Cursor::new(bytes)), &mut out, &bounds) {
        Ok(()) => Ok(out),
        Err(Stopped::Read(error) | Stopped::Write(error)) => Err(error),
    }
}

/// A zstd frame that decoders skip: metadata of another tool.
fn skipped(content: &[u8]) -> Vec<u8> {
    [&[0x51, 0x2a, 0x4d, 0x18][..], &u32::try_from(content.len()).unwrap().to_le_bytes(), content].concat()
}

#[test]
fn every_compression_gives_the_bytes() {
    let text: Vec<u8> = (0..250_000_u32).flat_map(u32::to_le_bytes).collect();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let members = [gzip(&text[..100_000]), gzip(&text[100_000..]), gzip(b"")].concat();
    let frames =
        [skipped(b"first"), zstd(&text[..10]), skipped(b""), zstd(&text[10..]), skipped(b"last")].concat();
    for (what, bytes) in [("plain", text.clone()), ("gzip", members), ("zstd", frames)] {
        assert!(decompress(bytes).unwrap() == text, "{what}");
    }
}

#[test]
fn a_blob_shorter_than_a_magic_number_is_plain() {
    for bytes in [&b""[..], b"a", b"\x1f", b"(\xb5\x2f"] {
        assert_eq!(decompress(bytes.to_vec()).unwrap(), bytes);
    }
}

#[test]
fn other_compressions_are_named() {
    for (bytes, name) in [(&b"BZh91AY&SY"[..], "bzip2"), (b"\xfd7zXZ\0\0\x04", "xz")] {
        let error = decompress(bytes.to_vec()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn truncated_and_lengthened_blobs_are_errors() {
    let text = vec![b'x'; 100_000];
    for (what, bytes) in [("gzip", gzip(&text)), ("zstd", zstd::encode_all(&text[..], 1).unwrap())] {
        for cut in [5, bytes.len() / 2, bytes.len() - 1] {
            assert!(decompress(bytes[..cut].to_vec()).is_err(), "{what} {cut}");
        }
        let longer = [&bytes[..], b"garbage after the end"].concat();
        assert!(decompress(longer).is_err(), "{what}");
    }
}

#[test]
fn a_window_over_the_limit_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(MAX_WINDOW_LOG + 1).unwrap();
    encoder.write_all(&[0; 1000]).unwrap();
    // Without its size in the header a frame needs its whole window.
    let bytes = encoder.finish().unwrap();
    assert!(decompress(bytes).is_err());
}

#[test]
fn what_is_over_the_bound_is_not_made() {
    let bounds = Limits { ratio: 2, ratio_from: 0, ..Limits::default() }.of_blob(1000);
    for (size, fits) in [(2000, true), (2001, false)] {
        let mut out = Vec::new();
        let blob = gzip(&vec![0; size]);
        match super::decompress(&blob[..], &mut out, &bounds) {
            Ok(()) => assert!(fits),
            Err(Stopped::Read(error)) => {
                assert!(!fits && out.is_empty() && error.to_string().contains("2000"), "{error}");
            }
            Err(Stopped::Write(error)) => panic!("{error}"),
        }
    }
}
