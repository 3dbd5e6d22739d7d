use std::io::Write;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn decompress(bytes: Vec<u8>, compression: Compression) -> io::Result<(Vec<u8>, [u8; 32])> {
    let mut stream = Stream::start(io::Cursor::new(bytes), compression, Limits::default())?;
    let mut out = Vec::new();
    stream.read_to_end(&mut out)?;
    Ok((out, stream.finish()?))
}

#[test]
fn every_compression_gives_the_bytes_and_their_sum() {
    let text: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let members = [gzip(&text[..1_000_000]), gzip(&text[1_000_000..])].concat();
    let frames = [&text[..10], &text[10..]].map(|part| zstd::encode_all(part, 1).unwrap()).concat();
    for (bytes, compression) in
        [(text.clone(), Compression::None), (members, Compression::Gzip), (frames, Compression::Zstd)]
    {
        for compression in [compression, Compression::Detect] {
            let (out, sum) = decompress(bytes.clone(), compression).unwrap();
            assert!(out == text, "{compression:?}");
            assert_eq!(sum, <[u8; 32]>::from(Sha256::digest(&text)));
        }
    }
}

#[test]
fn truncated_and_lengthened_blobs_are_errors() {
    let text = vec![b'x'; 100_000];
    for (bytes, compression) in
        [(gzip(&text), Compression::Gzip), (zstd::encode_all(&text[..], 1).unwrap(), Compression::Zstd)]
    {
        for cut in [1, 5, bytes.len() / 2, bytes.len() - 1] {
            assert!(decompress(bytes[..cut].to_vec(), compression).is_err(), "{compression:?} {cut}");
        }
        let longer = [&bytes[..], b"garbage after the end"].concat();
        assert!(decompress(longer, compression).is_err(), "{compression:?}");
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
    assert!(decompress(bytes, Compression::Zstd).is_err());
}

#[test]
fn a_reader_that_gives_up_ends_the_threads() {
    let mut stream =
        Stream::start(io::repeat(0).take(50 << 20), Compression::None, Limits::default()).unwrap();
    assert!(!stream.fill_buf().unwrap().is_empty());
    stream.finish().unwrap();
}
