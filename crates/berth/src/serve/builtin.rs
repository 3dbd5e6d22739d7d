//! The image that Berth carries in itself, so that a first pod needs no registry.

use berth_engine::BuiltinImage;

/// The demo image: a tiny web server.
pub(super) const fn demo() -> BuiltinImage {
    BuiltinImage { name: "berth.local/demo:latest", archive: include_bytes!(env!("BERTH_DEMO")) }
}
