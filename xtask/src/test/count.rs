//! Counting what cargo's test runners print.

use std::collections::BTreeSet;
use std::process::ExitCode;

/// Passed, failed, skipped, and what failed.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    pub(crate) failures: Vec<String>,
}

impl Counts {
    /// Counts a failure.
    pub(crate) fn fail(&mut self, what: String) {
        self.failed += 1;
        self.failures.push(what);
    }

    /// Counts a skip, and prints it.
    pub(crate) fn skip(&mut self, what: &str, reason: &str) {
        self.skipped += 1;
        println!("skipped: {what}: {reason}");
    }

    /// Names the failures, ends with the line of counts, and says whether something ran and nothing failed.
    pub(crate) fn close(&self) -> ExitCode {
        for failure in &self.failures {
            eprintln!("failed: {failure}");
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Reads the lines of `cargo test -- --show-output`.
///
/// A test that skips itself prints `skipped: NAME: REASON` and passes for its runner, so each such
/// name is taken from the passed ones of that binary.
#[derive(Debug, Default)]
pub(super) struct Reader {
    binary: String,
    skips: BTreeSet<String>,
    pub(super) counts: Counts,
    /// Binaries that printed their summary.
    pub(super) summaries: usize,
}

impl Reader {
    /// Takes one line of either stream.
    pub(super) fn line(&mut self, line: &str) {
        let text = line.trim();
        if let Some(binary) = text.strip_prefix("Running ").or_else(|| text.strip_prefix("Doc-tests ")) {
            binary.clone_into(&mut self.binary);
        } else if let Some(name) = skip_of(text) {
            self.skips.insert(name.to_owned());
        } else if let Some(name) = text.strip_prefix("test ").and_then(|t| t.strip_suffix(" ... FAILED")) {
            self.counts.failures.push(format!("{name} ({})", self.binary));
        } else if let Some(summary) = text.strip_prefix("test result: ") {
            self.summary(summary);
        }
    }

    fn summary(&mut self, summary: &str) {
        let number = |word: &str| -> usize {
            let part = summary.split([';', '.']).find(|part| part.trim().ends_with(word));
            part.and_then(|p| p.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        let skips = self.skips.len().min(number("passed"));
        self.counts.passed += number("passed") - skips;
        self.counts.skipped += skips + number("ignored");
        self.counts.failed += number("failed");
        self.skips.clear();
        self.summaries += 1;
    }
}

/// The name in `skipped: NAME: REASON`.
fn skip_of(text: &str) -> Option<&str> {
    let (name, reason) = text.strip_prefix("skipped: ")?.split_once(": ")?;
    (!reason.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Counts {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        reader.counts
    }

    #[test]
    fn summaries_add_up() {
        let counts = read(
            "     Running unittests src/lib.rs (target/debug/deps/a-1)\n\
             test a ... ok\n\
             test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             \x20  Doc-tests a\n\
             test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!((counts.passed, counts.failed, counts.skipped), (5, 4, 1));
    }

    #[test]
    fn a_test_that_skips_itself_is_no_pass() {
        let counts = read(
            "---- mounts stdout ----\n\
             skipped: mounts: needs root\n\
             skipped: mounts: needs root\n\
             skipped: nonsense\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
        );
        assert_eq!((counts.passed, counts.failed, counts.skipped), (2, 0, 1));
    }

    #[test]
    fn a_failure_is_named_with_its_binary() {
        let counts = read(
            "     Running tests/x.rs (target/debug/deps/x-1)\n\
             test one ... FAILED\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(counts.failures, ["one (tests/x.rs (target/debug/deps/x-1))"]);
        assert_eq!(counts.failed, 1);
    }
}
