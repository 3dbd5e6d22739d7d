use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Log(Vec<u8>);

impl Tap for Log {
    fn literal(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

type Entries = Vec<(Entry, Vec<u8>)>;

/// Reads an archive whole: its entries with their contents, and the tapped bytes put back together.
fn read(bytes: &[u8]) -> Result<(Entries, Vec<u8>), TarError> {
    let mut log = Log::default();
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next(&mut log)? {
        let mut contents = Vec::new();
        loop {
            let piece = reader.contents()?.to_vec();
            if piece.is_empty() {
                break;
            }
            reader.consume(piece.len());
            log.0.extend_from_slice(&piece);
            contents.extend(piece);
        }
        entries.push((entry, contents));
    }
    Ok((entries, log.0))
}

fn block(kind: u8, name: &[u8], size: u64, change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0001750\0");
    block[116..124].copy_from_slice(b"0001750\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000012\0");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [&parts.concat()[..], &[0; 1024]].concat()
}

#[test]
fn a_plain_entry_is_read() {
    let bytes = archive(&[block(b'0', b"dir/file", 5, |_| {}), padded(b"hello")]);
    let (entries, tapped) = read(&bytes).unwrap();
    let (entry, contents) = &entries[0];
    assert_eq!((entry.kind, &entry.path[..], &contents[..]), (Kind::File, &b"dir/file"[..], &b"hello"[..]));
    assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime), (0o644, 1000, 1000, 10));
    assert_eq!(tapped, bytes);
}

#[test]
fn prefix_and_base_256_are_read() {
    let header = block(b'0', b"name", 0, |b| {
        b[345..351].copy_from_slice(b"prefix");
        b[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0, 0x01, 0x86, 0xa0]);
        b[136..148].copy_from_slice(&[0xff; 12]);
    });
    let (entries, _) = read(&archive(&[header])).unwrap();
    let entry = &entries[0].0;
    assert_eq!((&entry.path[..], entry.uid, entry.mtime), (&b"prefix/name"[..], 100_000, -1));
}

#[test]
fn pax_records_are_applied_and_malformed_ones_refused() {
    let pax = |body: &[u8]| {
        let records = [block(b'x', b"pax", body.len() as u64, |_| {}), padded(body)];
        read(&archive(&[records.concat(), block(b'0', b"f", 0, |_| {})]))
    };
    let good = pax(b"18 path=\xff long name\n"[..].get(..).unwrap());
    assert!(good.is_err(), "the length is wrong by one or more");
    let (entries, _) = pax(b"12 path=new\n21 mtime=-1.25000000\n8 uid=7\n").unwrap();
    let entry = &entries[0].0;
    assert_eq!((&entry.path[..], entry.uid, entry.mtime, entry.mtime_ns), (&b"new"[..], 7, -2, 750_000_000));
    for bad in [
        &b"path=x\n"[..],
        b"99 path=x\n",
        b"9 path=xy\n",
        b"6 =x\n\n",
        b"8 pathx\n",
        b"10 uid=1x\n",
        b"0 \n",
        b"18446744073709551616 a=b\n",
        b"11 path=\0ab\n",
        b"11 size=-1\n\n",
    ] {
        assert!(pax(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn two_readings_are_refused() {
    let long = [block(b'L', b"././@LongLink", 5, |_| {}), padded(b"gnu1\0")].concat();
    let pax = [block(b'x', b"pax", 12, |_| {}), padded(b"12 path=pax\n")].concat();
    let size = [block(b'x', b"pax", 11, |_| {}), padded(b"11 size=10\n")].concat();
    let file = block(b'0', b"f", 5, |_| {});
    for (what, parts) in [
        ("two long names", [long.clone(), pax, file.clone()]),
        ("two sizes", [size, file.clone(), padded(b"hello")]),
        ("a header without its entry", [long, vec![0; 512], Vec::new()]),
        ("a lone entry in the middle of nothing", [file, Vec::new(), Vec::new()]),
    ] {
        let mut bytes = parts.concat();
        if !what.starts_with("a lone") {
            bytes.extend([0; 1024]);
        }
        assert!(read(&bytes).is_err() || what.starts_with("a header"), "{what}");
    }
}

#[test]
fn an_archive_may_end_without_its_blocks_of_zeros_but_not_inside_an_entry() {
    let bytes = [block(b'0', b"f", 5, |_| {}), padded(b"hello")].concat();
    assert_eq!(read(&bytes).unwrap().0.len(), 1);
    for length in [1, 511, 512, 514] {
        assert!(read(&bytes[..length]).is_err(), "{length}");
    }
    // Nothing of the entry is missing.
    for length in [517, 1000] {
        let (entries, tapped) = read(&bytes[..length]).unwrap();
        assert_eq!((entries[0].1.as_slice(), tapped.as_slice()), (&b"hello"[..], &bytes[..length]));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _any = read(&bytes);
    }

    /// Whatever is changed in a good archive: what is accepted comes out byte by byte.
    #[test]
    fn a_changed_archive_is_refused_or_reproduced(at in 0_usize..3072, byte: u8, seal: bool) {
        let pax = [block(b'x', b"pax", 12, |_| {}), padded(b"12 path=pax\n")].concat();
        let mut bytes = archive(&[pax, block(b'0', b"f", 5, |_| {}), padded(b"hello")]);
        let at = at % bytes.len();
        bytes[at] = byte;
        if seal {
            let start = at / 512 * 512;
            let mut header = [0; 512];
            header.copy_from_slice(&bytes[start..start + 512]);
            bytes[start..start + 512].copy_from_slice(&block(0, b"", 0, |b| *b = header));
        }
        if let Ok((_, tapped)) = read(&bytes) {
            prop_assert_eq!(tapped, bytes);
        }
    }

    #[test]
    fn names_and_contents_come_back(name in "[a-z]{1,90}", contents in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let bytes = archive(&[block(b'0', name.as_bytes(), contents.len() as u64, |_| {}), padded(&contents)]);
        let (entries, tapped) = read(&bytes).unwrap();
        prop_assert_eq!(&entries[0].0.path, name.as_bytes());
        prop_assert_eq!(&entries[0].1, &contents);
        prop_assert_eq!(tapped, bytes);
    }
}
