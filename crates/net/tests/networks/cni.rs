//! Networks by CNI plugins: Debian's, and scripts that go wrong in every way that plugins have gone wrong elsewhere.

mod broken;
mod crash;
mod plugins;
mod readiness;
pub(crate) mod world;
