//! The program in Berth's built-in demo image: a tiny static web server.

fn main() {}
