//! The benchmark's image: some 500 MB of this machine's /usr in five layers.

use std::path::Path;

use super::{Built, Compression, Format, Image, Layer};
use crate::{Error, Result};

/// The parts of /usr, one layer each; what a machine lacks is left out.
const LAYERS: [&[&str]; 5] = [
    &["lib/gcc"],
    &["include"],
    &["lib/python3", "lib/python3.11"],
    &["share/doc", "share/perl", "share/vim", "share/mime"],
    &["libexec", "share/fonts", "share/icons"],
];

/// Packs the image with its layers as files in `dir`, which is made; what is there already is
/// overwritten.
pub fn image(compression: Compression, dir: &Path) -> Result<Built> {
    std::fs::create_dir_all(dir).map_err(Error::io(format!("make {}", dir.display())))?;
    let mut image = Image::new(Format::Oci).cmd(&["sh"]);
    for (number, parts) in LAYERS.iter().enumerate() {
        let mut layer = Layer::new().dir("usr", 0o755).dir("usr/lib", 0o755).dir("usr/share", 0o755);
        for part in *parts {
            let source = Path::new("/usr").join(part);
            if source.is_dir() {
                layer = layer.tree(&format!("usr/{part}"), &source)?;
            }
        }
        let file = dir.join(format!("layer-{number}-{compression:?}").to_lowercase());
        image = image.layer(&layer.build_into(compression, &file)?);
    }
    Ok(image.build())
}
