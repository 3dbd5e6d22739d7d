//! The unpacking process alone, for tests: the `berth` binary is it as well, by its `argv[0]`.

fn main() -> std::process::ExitCode {
    berth_image::unpack::worker_main()
}
