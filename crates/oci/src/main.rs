//! `berth-oci`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth_oci::main()
}
