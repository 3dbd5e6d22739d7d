use std::io::Read;

use super::*;
use crate::image::digest_of;

fn sample() -> Layer {
    Layer::new()
        .dir("etc", 0o755)
        .file("etc/a", 0o640, "one\n")
        .owner(1000, 1001)
        .xattr("security.capability", [1, 0, 0, 2])
        .symlink("etc/b", "a")
        .hardlink("etc/c", "etc/a")
        .node("dev/null", 0o666, Node::Char(1, 3))
        .whiteout("etc/gone")
        .opaque("var")
}

#[test]
fn the_same_entries_make_the_same_bytes_and_sums() {
    for compression in [Compression::Plain, Compression::Gzip, Compression::Zstd] {
        let one = sample().build(compression).unwrap();
        let two = sample().build(compression).unwrap();
        assert_eq!(one.digest, two.digest);
        let bytes = one.bytes().unwrap();
        assert_eq!(one.digest, digest_of(&bytes));
        assert_eq!(one.size, bytes.len() as u64);
        assert_eq!(one.diff_id, digest_of(&sample().tar().unwrap()));
    }
}

#[test]
fn compressed_layers_unpack_to_the_tar() {
    let tar = sample().tar().unwrap();
    let gzip = sample().build(Compression::Gzip).unwrap().bytes().unwrap();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut plain).unwrap();
    assert_eq!(plain, tar);
    let zstd = sample().build(Compression::Zstd).unwrap().bytes().unwrap();
    assert_eq!(zstd::stream::decode_all(&zstd[..]).unwrap(), tar);
}

#[test]
fn names_are_written_as_they_are() {
    let long = format!("{}/end", "d".repeat(150));
    let tar = Layer::new()
        .file("../out", 0o644, "x")
        .file("/abs", 0o644, "y")
        .file(b"latin-\xe9", 0o644, "z")
        .file(&long, 0o644, "w")
        .tar()
        .unwrap();
    let mut archive = tar::Archive::new(&tar[..]);
    let names: Vec<_> = archive.entries().unwrap().map(|e| e.unwrap().path_bytes().into_owned()).collect();
    assert_eq!(names, [b"../out".to_vec(), b"/abs".to_vec(), b"latin-\xe9".to_vec(), long.into_bytes()]);
}

#[test]
fn a_layer_in_a_file_is_the_layer_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("layer");
    let file = sample().build_into(Compression::Gzip, &path).unwrap();
    assert_eq!(file.digest, sample().build(Compression::Gzip).unwrap().digest);
    assert_eq!(file.bytes().unwrap().len() as u64, file.size);
}

#[test]
fn markers_have_the_names_of_the_image_specification() {
    let tar = Layer::new().whiteout("a/b").whiteout("top").opaque("c").tar().unwrap();
    let mut archive = tar::Archive::new(&tar[..]);
    let names: Vec<_> =
        archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(names, ["a/.wh.b", ".wh.top", "c/.wh..wh..opq"]);
}
