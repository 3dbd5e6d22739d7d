//! Tars written block by block, so that wrong ones can be written too, and images made of them.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_image::{Config, Image, Images, LayerSource, LayerStep, Names, Source, StoreError};
use berth_testkit::wait_until;
use berth_types::Digest;
use sha2::Digest as _;

/// Whether the test can run; prints a line when it cannot.
pub fn root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    eprintln!("skipped: {test}: needs root");
    false
}

pub fn sum(bytes: &[u8]) -> Digest {
    Digest::from_sha256(sha2::Sha256::digest(bytes).into())
}

#[derive(Clone)]
pub struct Tar {
    pub bytes: Vec<u8>,
    pub uid: u64,
    pub mode: u32,
    pub mtime: u64,
}

impl Default for Tar {
    fn default() -> Self {
        Self { bytes: Vec::new(), uid: 0, mode: 0o644, mtime: 1_000_000_000 }
    }
}

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub fn uid(mut self, uid: u64) -> Self {
        self.uid = uid;
        self
    }

    /// A header as ustar has it.
    pub fn header(&self, kind: u8, name: &[u8], link: &[u8], size: u64, device: (u32, u32)) -> [u8; 512] {
        let mut block = [0; 512];
        block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        let mut put = |at: usize, width: usize, value: u64| {
            let text = format!("{value:0width$o}\0", width = width - 1);
            block[at..at + width].copy_from_slice(text.as_bytes());
        };
        put(100, 8, u64::from(self.mode));
        put(108, 8, self.uid);
        put(116, 8, self.uid);
        put(124, 12, size);
        put(136, 12, self.mtime);
        put(329, 8, u64::from(device.0));
        put(337, 8, u64::from(device.1));
        block[156] = kind;
        block[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        block[257..265].copy_from_slice(b"ustar\x0000");
        seal(&mut block);
        block
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn body(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        let padding = bytes.len().wrapping_neg() % 512;
        self.bytes.extend(std::iter::repeat_n(0, padding));
        self
    }

    fn entry(self, kind: u8, name: &[u8], link: &[u8], body: &[u8], device: (u32, u32)) -> Self {
        let mut this = self;
        for (long, letter) in [(name, b'L'), (link, b'K')] {
            if long.len() > 100 {
                let header = this.header(letter, b"././@LongLink", b"", long.len() as u64 + 1, (0, 0));
                this = this.raw(&header).body(&[long, b"\0"].concat());
            }
        }
        let header = this.header(kind, name, link, body.len() as u64, device);
        this.raw(&header).body(body)
    }

    pub fn file(self, name: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        self.entry(b'0', name.as_ref(), b"", body.as_ref(), (0, 0))
    }

    pub fn dir(self, name: impl AsRef<[u8]>) -> Self {
        let mode = self.mode;
        let mut this = self.mode(if mode == 0o644 { 0o755 } else { mode });
        this = this.entry(b'5', name.as_ref(), b"", b"", (0, 0));
        this.mode(mode)
    }

    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(b'2', name.as_ref(), target.as_ref(), b"", (0, 0))
    }

    pub fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(b'1', name.as_ref(), target.as_ref(), b"", (0, 0))
    }

    pub fn node(self, kind: u8, name: impl AsRef<[u8]>, device: (u32, u32)) -> Self {
        self.entry(kind, name.as_ref(), b"", b"", device)
    }

    /// A PAX header for the entry that follows.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length = rest + length.to_string().len();
            }
            write!(body, "{length} {key}=").unwrap();
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        let header = self.header(b'x', b"PaxHeaders/x", b"", body.len() as u64, (0, 0));
        self.raw(&header).body(&body)
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}

/// Writes the checksum of a header.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A layer's tar with its blob.
#[derive(Clone)]
pub struct Layer {
    pub diff_id: Digest,
    pub blob: Vec<u8>,
}

impl Layer {
    pub fn plain(tar: Vec<u8>) -> Self {
        Self { diff_id: sum(&tar), blob: tar }
    }

    pub fn gzip(tar: &[u8]) -> Self {
        Self { diff_id: sum(tar), blob: gzip(tar) }
    }

    pub fn zstd(tar: &[u8]) -> Self {
        Self { diff_id: sum(tar), blob: zstd(tar) }
    }
}

pub fn source(layers: &[Layer], cmd: &str) -> Source {
    let diff_ids: Vec<_> = layers.iter().map(|l| l.diff_id.as_str()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": [cmd]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let blobs: Vec<_> = layers.iter().map(|l| serde_json::json!({"digest": sum(&l.blob), "size": l.blob.len(), "mediaType": "application/vnd.oci.image.layer.v1.tar"})).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sum(&config), "size": config.len()},
        "layers": blobs,
    });
    Source {
        manifest: serde_json::to_vec(&manifest).unwrap(),
        config,
        layers: layers
            .iter()
            .map(|l| LayerSource { digest: sum(&l.blob), size: l.blob.len() as u64 })
            .collect(),
    }
}

/// Adds an image under a tag; returns how many layers had to be written too.
pub async fn add(images: &Images, layers: &[Layer], tag: &str) -> Result<(Arc<Image>, usize), StoreError> {
    let source = source(layers, "sh");
    let manifest = sum(&source.manifest);
    let ingest = images.ingest(source).await?;
    let mut written = 0;
    for (index, layer) in layers.iter().enumerate() {
        if let LayerStep::Write(mut writer) = ingest.layer(index).await? {
            for chunk in layer.blob.chunks(60_000) {
                writer.write(chunk).await?;
            }
            writer.finish().await?;
            written += 1;
        }
    }
    let repository = tag.rsplit_once(':').map_or(tag, |(repository, _)| repository);
    let names = Names { tags: vec![tag.to_owned()], repo_digests: vec![format!("{repository}@{manifest}")] };
    Ok((ingest.commit(names).await?, written))
}

pub fn config(root: &Path) -> Config {
    Config { unpacker: env!("CARGO_BIN_EXE_berth-unpack").into(), ..Config::new(root) }
}

pub struct Store {
    pub dir: tempfile::TempDir,
    pub images: Images,
}

pub async fn store() -> Store {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(config(dir.path())).await.unwrap();
    Store { dir, images }
}

impl Store {
    /// The tree of the layers of an image, the uppermost first.
    pub fn tree(&self, image: &Image, layer: usize) -> std::path::PathBuf {
        self.images.dir().join("layers").join(image.layers[layer].dir_name()).join("fs")
    }

    /// What is in a directory of the store.
    pub fn names(&self, dir: &str) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.images.dir().join(dir))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// That nothing is left but the lock and empty directories, once the downloads that a failure ended have gone.
    #[track_caller]
    pub fn assert_empty(&self) {
        let dirs = ["layers", "records", "blobs/sha256", "staging"];
        let left = || -> Vec<_> {
            dirs.iter().flat_map(|dir| self.names(dir).into_iter().map(move |name| (dir, name))).collect()
        };
        assert!(wait_until(Duration::from_secs(10), || left().is_empty()), "{:?}", left());
    }

    pub async fn unpack(&self, tar: Vec<u8>) -> Result<std::path::PathBuf, StoreError> {
        let (image, _) = add(&self.images, &[Layer::plain(tar)], "example.org/test:1").await?;
        Ok(self.tree(&image, 0))
    }
}

/// Runs another tool; `false` when it is not installed.
pub fn tool(test: &str, program: &str, arguments: &[&str]) -> bool {
    match std::process::Command::new(program).args(arguments).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {text}");
            true
        }
        Err(_) => {
            eprintln!("skipped: {test}: {program} is not installed");
            false
        }
    }
}
