//! Rules about what a line of source may say.

use super::Files;

/// `unsafe` outside the one crate that may have it.
pub(super) fn unsafe_code(files: &Files) -> Vec<String> {
    files.complaints(|file, line| {
        let code = code_of(line);
        let says = code.contains(concat!("un", "safe {"))
            || code.contains(concat!("un", "safe fn"))
            || code.contains(concat!("un", "safe impl"))
            || code.contains(concat!("allow(un", "safe_code"));
        (says && !file.path.starts_with("crates/sys/")).then_some("only crates/sys may have unsafe code")
    })
}

/// Markers of work left undone.
pub(super) fn unfinished(files: &Files) -> Vec<String> {
    const MARKS: [&str; 5] = [
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ign", "ore"),
    ];
    files.complaints(|_, line| MARKS.iter().any(|mark| line.contains(mark)).then_some("left unfinished"))
}

/// A test that sleeps waits too long on a fast machine and too short on a slow one.
pub(super) fn sleeping_tests(files: &Files) -> Vec<String> {
    files.complaints(|file, line| {
        let sleeps = code_of(line).contains(concat!("thread::sl", "eep("))
            || code_of(line).contains(concat!("time::sl", "eep("));
        (sleeps && file.is_test()).then_some("wait for a condition with a deadline instead")
    })
}

/// Names that only mean something where the code was written.
pub(super) fn machine_paths(files: &Files) -> Vec<String> {
    const PATHS: [&str; 2] = [concat!("/wo", "rk/main"), concat!("/wo", "rk/shared")];
    files
        .complaints(|_, line| PATHS.iter().any(|path| line.contains(path)).then_some("a path of one machine"))
}

/// The line without its comment.
fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}
