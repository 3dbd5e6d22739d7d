//! Layers of at most 100 KB that ask for as much as they can. Each is refused with a reason or unpacked, on a disk of a
//! bounded size with a bounded number of inodes, and leaves nothing.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::io::Write;

use berth_image::{Config, Images};
use berth_testkit::isolated::{self, Kind as Space};
use berth_types::{Classify, Kind};
use common::{Layer, Store, Tar, add, root, seal};
use rustix::mount::{MountFlags, UnmountFlags};
use sha2::Digest as _;

/// The largest blob here, in bytes.
const SMALL: usize = 100_000;

/// A tar that is compressed and summed up while it is written.
struct Wide {
    out: zstd::stream::write::Encoder<'static, Vec<u8>>,
    sum: sha2::Sha256,
}

impl Wide {
    fn new() -> Self {
        let mut out = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        out.long_distance_matching(true).unwrap();
        Self { out, sum: sha2::Sha256::new() }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.out.write_all(bytes).unwrap();
    }

    fn tar(&mut self, tar: &Tar) {
        self.write(&tar.bytes);
    }

    fn finish(mut self, what: &str) -> Layer {
        self.write(&[0; 1024]);
        let blob = self.out.finish().unwrap();
        assert!(blob.len() <= SMALL, "{what}: {} bytes", blob.len());
        Layer { diff_id: berth_types::Digest::from_sha256(self.sum.finalize().into()), blob }
    }
}

/// A header for a name of its own: the number is put into the block.
fn numbered(block: &mut [u8; 512], number: u32) {
    for (digit, at) in (0..6).rev().zip(0..) {
        block[at] = b'0' + u8::try_from(number / 10_u32.pow(digit) % 10).unwrap();
    }
    seal(block);
}

/// Headers with numbers for names, as many as fit into a small blob's compression.
fn many(what: &str, kind: u8, link: &[u8], count: u32) -> Layer {
    let mut wide = Wide::new();
    let mut block = Tar::new().header(kind, b"000000", link, 0, (0, 0));
    let mut all = Vec::new();
    for number in 0..count {
        numbered(&mut block, number);
        all.extend_from_slice(&block);
    }
    wide.write(&all);
    wide.finish(what)
}

/// Paths of 2,000 directories, each with a beginning of its own.
fn deep(what: &str, count: u32, kind: u8) -> Layer {
    let mut wide = Wide::new();
    for number in 0..count {
        let path = format!("{number:06}/{}x", "a/".repeat(1990));
        let tar = Tar::new().pax(&[("path", path.as_bytes())]);
        let header = tar.header(kind, b"short", b"", 0, (0, 0));
        wide.tar(&tar.raw(&header));
    }
    wide.finish(what)
}

fn attributes(what: &str) -> Layer {
    let mut wide = Wide::new();
    let value = vec![b'v'; 60_000];
    for number in 0..1500_u32 {
        let tar = Tar::new().pax(&[("SCHILY.xattr.user.a", &value), ("SCHILY.xattr.user.b", &value)]);
        let mut header = tar.header(b'5', b"000000", b"", 0, (0, 0));
        numbered(&mut header, number);
        wide.tar(&tar.raw(&header));
    }
    wide.finish(what)
}

fn one_entry(what: &str, records: &[(&str, &[u8])], repeat: usize) -> Layer {
    let mut wide = Wide::new();
    for _ in 0..repeat {
        wide.tar(&Tar::new().pax(records));
    }
    wide.tar(&Tar::new().file("f", "x"));
    wide.finish(what)
}

/// Sparse files of as many pieces as the format lets them have.
fn pieces(what: &str, files: u32) -> Layer {
    let mut wide = Wide::new();
    let count = 100_000;
    let mut map = format!("{count}\n");
    for piece in 0..count {
        map.push_str(&format!("{}\n1\n", piece * 2));
    }
    let mut body = map.into_bytes();
    body.resize(body.len().next_multiple_of(512), 0);
    body.extend(vec![b'x'; count]);
    let size = (2 * count).to_string();
    for number in 0..files {
        let name = format!("{number:06}");
        let records: [(&str, &[u8]); 4] = [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", name.as_bytes()),
            ("GNU.sparse.realsize", size.as_bytes()),
        ];
        wide.tar(&Tar::new().pax(&records).file("sparse", &body));
    }
    wide.finish(what)
}

/// A file of zeros of so many bytes.
fn zeros(what: &str, size: u64) -> Layer {
    let mut wide = Wide::new();
    let header = Tar::new().header(b'0', b"zeros", b"", size, (0, 0));
    wide.write(&header);
    let block = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        wide.write(&block);
    }
    wide.finish(what)
}

fn one_file(name: &str, tar: &Tar) -> Layer {
    let mut wide = Wide::new();
    wide.tar(tar);
    wide.finish(name)
}

/// On 800 MiB with 400,000 inodes.
fn on_bounded_disk<F: Future<Output = ()>>(body: impl FnOnce(Store) -> F + Send) {
    let in_namespace = || {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().to_owned();
        let options = c"size=800m,nr_inodes=400000";
        rustix::mount::mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), options).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let limits = berth_image::Limits { ratio_from: 256 << 20, ..Default::default() };
            let config = Config { limits, ..common::config(&disk) };
            let images = Images::open(config).await.unwrap();
            body(Store { dir, images }).await;
        });
        drop(runtime);
        rustix::mount::unmount(&disk, UnmountFlags::DETACH).ok();
    };
    isolated::run(&[Space::Mount], in_namespace).unwrap();
}

#[test]
fn a_layer_of_100_kb_is_bounded_in_everything() {
    if !root("a_layer_of_100_kb_is_bounded_in_everything") {
        return;
    }
    let value = vec![b'v'; 1000];
    let names: Vec<String> = (0..500).map(|n| format!("SCHILY.xattr.user.{n}")).collect();
    let distinct: Vec<(&str, &[u8])> = names.iter().map(|name| (&name[..], &value[..])).collect();
    let same: Vec<(&str, &[u8])> = (0..500).map(|_| ("SCHILY.xattr.user.a", &value[..])).collect();
    let long = vec![b'n'; 900_000];
    let (refused, limited) = (Kind::Corrupt, Kind::Exhausted);
    let layers: Vec<(&str, Layer, Option<Kind>)> = vec![
        ("deep files", deep("deep files", 4000, b'0'), Some(limited)),
        ("deep directories", deep("deep directories", 4000, b'5'), Some(limited)),
        ("attributes of directories", attributes("attributes"), Some(limited)),
        ("many attributes", one_entry("many attributes", &distinct, 1), Some(refused)),
        ("one attribute many times", one_entry("one attribute", &same, 1), Some(refused)),
        ("headers without end", one_entry("headers", &[("comment", b"x")], 5000), Some(refused)),
        ("long names", one_entry("long names", &[("path", &long)], 1), Some(refused)),
        ("a name over and over", one_entry("a name", &[("path", &long)], 20), Some(refused)),
        ("pieces", pieces("pieces", 40), Some(limited)),
        ("hard links", many("hard links", b'1', b"f", 9000), Some(refused)),
        ("zeros", zeros("zeros", 300 << 20), Some(limited)),
        (
            "a huge sparse file",
            {
                let size = (1_u64 << 60).to_string();
                let records: [(&str, &[u8]); 2] =
                    [("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", b"0,1")];
                one_file("sparse", &Tar::new().pax(&records).file("f", "x"))
            },
            Some(limited),
        ),
        ("empty files", many("empty files", b'0', b"", 9000), None),
        (
            "a link with a long target",
            one_file("link", &Tar::new().symlink("l", vec![b't'; 9000])),
            Some(refused),
        ),
    ];
    on_bounded_disk(async |store| {
        for (what, layer, wanted) in layers {
            match (add(&store.images, &[layer], "example.org/hostile:1").await, wanted) {
                (Err(error), Some(kind)) => {
                    let text = berth_types::error::chain(&error);
                    assert_eq!(error.kind(), kind, "{what}: {text}");
                    assert!(!text.contains("signal"), "{what}: {text}");
                }
                (Ok(_), None) => assert!(store.images.remove("example.org/hostile:1").await.unwrap()),
                (result, _) => panic!("{what}: {:?}", result.map(drop)),
            }
            let clean = || store.names("staging").is_empty() && store.names("trash").is_empty();
            assert!(berth_testkit::wait_until(berth_testkit::guard::WAIT_LIMIT, clean), "{what}");
            store.assert_empty();
        }
    });
}

/// A lower layer has one large file by many names; each name that is linked to would be copied up whole.
#[test]
fn hard_links_do_not_multiply_a_file_of_a_lower_layer() {
    if !root("hard_links_do_not_multiply_a_file_of_a_lower_layer") {
        return;
    }
    let mut below = Wide::new();
    let size = 100_u64 << 20;
    below.write(&Tar::new().header(b'0', b"zeros", b"", size, (0, 0)));
    for _ in 0..size >> 20 {
        below.write(&vec![0; 1 << 20]);
    }
    for name in 0..50 {
        below.tar(&Tar::new().hard_link(format!("n{name}"), "zeros"));
    }
    let below = below.finish("below");
    let mut above = Wide::new();
    for name in 0..50 {
        above.tar(&Tar::new().hard_link(format!("l{name}"), format!("n{name}")));
    }
    let above = above.finish("above");
    on_bounded_disk(async |store| {
        let error = add(&store.images, &[below, above], "example.org/hostile:1").await.unwrap_err();
        let text = berth_types::error::chain(&error);
        assert!(text.contains("hard links to more than"), "{text}");
        assert_eq!(error.kind(), Kind::Exhausted);
    });
}
