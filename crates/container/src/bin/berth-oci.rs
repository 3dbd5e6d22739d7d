//! Runs an OCI bundle, for comparison with other runtimes: `berth-oci run BUNDLE [ID]`.

use std::path::Path;
use std::process::ExitCode;

use berth_container::bundle;
use berth_types::error::chain;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (dir, id) = match words.as_slice() {
        [_, "run", dir] => (*dir, format!("berth-{}", std::process::id())),
        [_, "run", dir, id] => (*dir, (*id).to_owned()),
        _ => {
            say("usage: berth-oci run BUNDLE [ID]");
            return ExitCode::from(125);
        }
    };
    if let Err(e) = bundle::seal_program() {
        say(&chain(&e));
        return ExitCode::from(125);
    }
    match bundle::run(Path::new(dir), &bundle::Options { id, cgroup_parent: String::new() }) {
        Ok(finished) => {
            for note in &finished.notes {
                say(&format!("note: {note}"));
            }
            code(finished.code)
        }
        Err(e) => {
            say(&chain(&e));
            code(e.exit_code())
        }
    }
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).expect("masked to a byte"))
}

#[allow(clippy::print_stderr, reason = "a command line tool prints")]
fn say(text: &str) {
    eprintln!("berth-oci: {text}");
}
