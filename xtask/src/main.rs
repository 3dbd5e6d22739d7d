//! The one vocabulary for laptop and CI.

fn main() {}
