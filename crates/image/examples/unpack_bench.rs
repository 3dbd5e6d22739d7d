//! How long an image takes from the bytes of its blobs until it is on disk.
//!
//! `unpack_bench ROOT BLOB...`: the blobs are layers (gzip, zstd or plain), read from files three at a
//! time as a pull does. Run as `berth-unpack` it is the unpacking process.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool")]

use std::io::Read;
use std::process::ExitCode;
use std::time::Instant;

use berth_image::{Config, Images, Ingest, LayerSource, LayerStep, Names, Source, unpack};
use berth_types::Digest;
use futures_util::{StreamExt, TryStreamExt};
use sha2::Digest as _;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if arguments.next().as_deref() == Some(unpack::PROGRAM) {
        return unpack::worker_main();
    }
    let root = arguments.next().expect("ROOT");
    let blobs: Vec<Blob> = arguments.map(|path| Blob::read(&path)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for round in 0..3 {
        runtime.block_on(measure(&format!("{root}/{round}"), &blobs));
    }
    ExitCode::SUCCESS
}

struct Blob {
    bytes: Vec<u8>,
    diff_id: Digest,
}

impl Blob {
    fn read(path: &str) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let mut tar = Vec::new();
        match bytes[..] {
            [0x1f, 0x8b, ..] => {
                flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut tar).unwrap();
            }
            [0x28, 0xb5, ..] => tar = zstd::decode_all(&bytes[..]).unwrap(),
            _ => tar.clone_from(&bytes),
        }
        let diff_id = sum(&tar);
        Self { bytes, diff_id }
    }
}

fn sum(bytes: &[u8]) -> Digest {
    Digest::from_sha256(sha2::Sha256::digest(bytes).into())
}

async fn measure(root: &str, blobs: &[Blob]) {
    let images = Images::open(Config::new(root)).await.unwrap();
    let diff_ids: Vec<_> = blobs.iter().map(|b| b.diff_id.as_str()).collect();
    let config = serde_json::json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}}).to_string();
    let layers =
        blobs.iter().map(|b| LayerSource { digest: sum(&b.bytes), size: b.bytes.len() as u64 }).collect();
    let begin = Instant::now();
    let source = Source { manifest: b"{}".to_vec(), config: config.into_bytes(), layers };
    let ingest = images.ingest(source).await.unwrap();
    futures_util::stream::iter(blobs.iter().enumerate())
        .map(|(index, blob)| write(&ingest, index, blob))
        .buffer_unordered(3)
        .try_collect::<()>()
        .await
        .unwrap();
    let unpacked = begin.elapsed();
    let image = ingest.commit(Names::default()).await.unwrap();
    let safe = begin.elapsed();
    let verify = Instant::now();
    images.verify(&image.id).await.unwrap();
    println!(
        "unpacked {:.2} s, safe {:.2} s ({} MB, {} inodes); verified in {:.2} s",
        unpacked.as_secs_f64(),
        safe.as_secs_f64(),
        image.size >> 20,
        image.inodes,
        verify.elapsed().as_secs_f64()
    );
    images.remove(image.id.as_str()).await.unwrap();
}

async fn write(ingest: &Ingest, index: usize, blob: &Blob) -> Result<(), berth_image::StoreError> {
    if let LayerStep::Write(mut writer) = ingest.layer(index).await? {
        for chunk in blob.bytes.chunks(128 << 10) {
            writer.write(chunk).await?;
        }
        writer.finish().await?;
    }
    Ok(())
}
