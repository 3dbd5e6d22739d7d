//! What a runtime says when it fails: the last error of its log, which has a JSON object on each line.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use berth_types::shim::Reason;
use serde::Deserialize;

/// As much of the log's end is read.
const TAIL: u64 = 16 << 10;
/// As much of a message is told.
const MOST: usize = 2 << 10;

#[derive(Deserialize)]
struct Line {
    level: String,
    msg: String,
}

/// The last error in a log; None when there is none.
pub(super) fn last(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    of(&String::from_utf8_lossy(&bytes))
}

fn of(text: &str) -> Option<String> {
    let errors = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let message = errors
        .filter(|line| matches!(&*line.level, "error" | "fatal" | "panic"))
        .map(|line| line.msg)
        .next()?;
    let message = message.trim();
    let mut end = message.len().min(MOST);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    Some(message[..end].to_owned()).filter(|message| !message.is_empty())
}

/// What the words are about, in the words of runc, crun and runsc.
pub(crate) fn reason(words: &str) -> Reason {
    let words = words.to_ascii_lowercase();
    let has = |part: &str| words.contains(part);
    let about_command = has("exec") || has("executable") || has("start") || has("find");
    if about_command && (has("not found") || has("no such file or directory")) {
        Reason::CommandNotFound
    } else if about_command && (has("permission denied") || has("exec format error") || has("is a directory"))
        // Of crun, about a directory.
        || has("open executable: operation not permitted")
    {
        Reason::CommandDenied
    } else {
        Reason::Refused
    }
}

/// Whether they are surely about the command, not about something else that is not found: the words for that of runc
/// (`exec: "/it": stat /it: ...`) and crun (``executable file `it` ...``, `open executable`).
pub(crate) fn is_about_command(words: &str) -> bool {
    words.contains(": exec: \"") || words.contains("executable file `") || words.contains("open executable: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_found() {
        let log = concat!(
            r#"{"level":"warning","msg":"first","time":"x"}"#,
            "\n",
            r#"{"level":"error","msg":"runc create failed: \"why\"\n","time":"x"}"#,
            "\n",
            r#"{"level":"info","msg":"later"}"#,
            "\nno json\n{\"level\":\"error\"",
        );
        assert_eq!(of(log).as_deref(), Some("runc create failed: \"why\""));
        assert_eq!(of("not found\n"), None);
        assert_eq!(of(""), None);
        let long = format!(r#"{{"level":"fatal","msg":"{}"}}"#, "\u{e4}".repeat(MOST));
        assert_eq!(of(&long).unwrap().len(), MOST);
    }

    #[test]
    fn a_command_that_cannot_run_is_told_from_other_failures() {
        for (words, expected) in [
            (r#"exec: "nothing": executable file not found in $PATH"#, Reason::CommandNotFound),
            (r#"exec: "/nothing": stat /nothing: no such file or directory"#, Reason::CommandNotFound),
            (
                "executable file `nothing` not found in $PATH: No such file or directory",
                Reason::CommandNotFound,
            ),
            (r#"exec: "/etc/passwd": permission denied"#, Reason::CommandDenied),
            ("open executable: Permission denied", Reason::CommandDenied),
            ("open executable: Operation not permitted", Reason::CommandDenied),
            ("exec /script: exec format error", Reason::CommandDenied),
            ("error mounting \"/x\" to rootfs: permission denied", Reason::Refused),
            ("container is stopped", Reason::Refused),
        ] {
            assert_eq!(reason(words), expected, "{words}");
        }
    }

    #[test]
    fn words_about_a_command_are_told_from_those_about_other_files() {
        for words in [
            r#"runc create failed: unable to start container process: exec: "nothing": executable file not found in $PATH"#,
            r#"runc create failed: unable to start container process: exec: "/etc": is a directory"#,
            "executable file `nothing` not found in $PATH: No such file or directory",
            "open executable: Permission denied",
        ] {
            assert!(is_about_command(words), "{words}");
        }
        for words in [
            r#"runc create failed: unable to start container process: error mounting "/x" to rootfs at "/exec": stat /x: no such file or directory"#,
            "cannot start a container that has stopped",
        ] {
            assert!(!is_about_command(words), "{words}");
        }
    }
}
