//! The rules of the project, as a test.
//!
//! Each rule looks at the sources and lists what is wrong, with the file and the line.

mod arrows;
mod sizes;
mod sources;
mod texts;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::run::root;

/// A rule and what breaks it.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) problems: Vec<String>,
}

/// The verb.
pub(crate) fn run() -> Result<()> {
    let broken: Vec<_> = check().into_iter().filter(|rule| !rule.problems.is_empty()).collect();
    for rule in &broken {
        for problem in &rule.problems {
            eprintln!("tidy: {}: {problem}", rule.name);
        }
    }
    if broken.is_empty() { Ok(()) } else { bail!("{} rules are broken", broken.len()) }
}

/// Looks at everything.
pub(crate) fn check() -> Vec<Rule> {
    let root = root();
    let files = Files::read(&root);
    let rule = |name, problems| Rule { name, problems };
    vec![
        rule("allowed arrows between crates", arrows::check(&root)),
        rule("workspace lints in every crate", arrows::lints(&root)),
        rule("unsafe code only in crates/sys", sources::unsafe_code(&files)),
        rule("no unfinished code", sources::unfinished(&files)),
        rule("no sleeping tests", sources::sleeping_tests(&files)),
        rule("no file names of one machine", sources::machine_paths(&files)),
        rule("files are short", sizes::files(&files)),
        rule("functions are short", sizes::functions(&files)),
        rule("paths named in documents exist", texts::paths(&root)),
        rule("the changelog exists", texts::changelog(&root)),
        rule("api.proto is the pinned one", texts::proto(&root)),
        rule("documents made from code are current", crate::docs::stale()),
    ]
}

/// A Rust source file.
#[derive(Debug)]
struct File {
    /// From the root of the checkout.
    path: String,
    text: String,
}

impl File {
    /// Whether it holds nothing but tests.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

/// Every Rust source file of the checkout.
#[derive(Debug)]
struct Files(Vec<File>);

impl Files {
    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        let mut todo: Vec<PathBuf> = vec![root.join("crates"), root.join("xtask")];
        while let Some(dir) = todo.pop() {
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() && !path.ends_with("target") {
                    todo.push(path);
                } else if path.extension().is_some_and(|e| e == "rs")
                    && let Ok(text) = std::fs::read_to_string(&path)
                {
                    let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                    files.push(File { path, text });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self(files)
    }

    /// The lines for which `wrong` gives a complaint, with their places.
    fn complaints(&self, wrong: impl Fn(&File, &str) -> Option<&'static str>) -> Vec<String> {
        let mut found = Vec::new();
        for file in &self.0 {
            for (number, line) in file.text.lines().enumerate() {
                if let Some(complaint) = wrong(file, line) {
                    found.push(format!("{}:{}: {complaint}", file.path, number + 1));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
