//! The built-in demo image: an OCI image-layout archive with one layer, which holds one program.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where the image is known.
const NAME: &str = "berth.local/demo:latest";

/// Writes the archive to `to`.
pub(crate) fn write(program: &Path, arch: &str, to: &Path) -> Result<(), Box<dyn Error>> {
    let layer = layer(&fs::read(program)?)?;
    let config = serde_json::to_vec(&json!({
        "architecture": arch,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": "65532:65532",
            "Entrypoint": ["/berth-demo"],
            "WorkingDir": "/",
            "ExposedPorts": { "8080/tcp": {} },
            "Labels": { "org.opencontainers.image.description": "shows what a container sees of itself" }
        },
        "rootfs": { "type": "layers", "diff_ids": [sum(&layer)] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "berth" }]
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)]
    }))?;
    let mut of_index = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    of_index["annotations"] =
        json!({ "io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": NAME });
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [of_index]
    }))?;
    let mut archive = tar::Builder::new(fs::File::create(to)?);
    add(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add(&mut archive, "index.json", 0o644, &index)?;
    for blob in [&manifest, &config, &layer] {
        add(&mut archive, &format!("blobs/sha256/{}", hex(blob)), 0o644, blob)?;
    }
    archive.finish()?;
    Ok(())
}

fn layer(program: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut tar = tar::Builder::new(Vec::new());
    for dir in ["dev/", "etc/", "proc/", "sys/"] {
        let mut header = header(0, 0o755);
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, dir, std::io::empty())?;
    }
    add(&mut tar, "etc/passwd", 0o644, b"root:x:0:0:root:/:/\nnonroot:x:65532:65532:nonroot:/:/\n")?;
    add(&mut tar, "etc/group", 0o644, b"root:x:0:\nnonroot:x:65532:\n")?;
    add(&mut tar, "berth-demo", 0o755, program)?;
    Ok(tar.into_inner()?)
}

fn header(size: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn add<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    mode: u32,
    data: &[u8],
) -> std::io::Result<()> {
    tar.append_data(&mut header(data.len(), mode), path, data)
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sum(blob), "size": blob.len() })
}

fn sum(blob: &[u8]) -> String {
    format!("sha256:{}", hex(blob))
}

fn hex(blob: &[u8]) -> String {
    Sha256::digest(blob).iter().map(|byte| format!("{byte:02x}")).collect()
}
