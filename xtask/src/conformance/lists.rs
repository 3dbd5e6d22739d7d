//! The two lists of specs.
//!
//! A line is a spec's full name. A line that begins with `#` is a comment in `must-pass.txt`; in
//! `not-yet.txt` it is the reason for the specs below it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};

#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) must_pass: BTreeSet<String>,
    /// Spec and reason.
    pub(super) not_yet: BTreeMap<String, String>,
}

impl Lists {
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        Self::parse(&text("must-pass.txt")?, &text("not-yet.txt")?)
    }

    pub(super) fn parse(must_pass: &str, not_yet: &str) -> Result<Self> {
        let mut lists = Self::default();
        for line in must_pass.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            if !lists.must_pass.insert(line.to_owned()) {
                bail!("must-pass.txt: {line} is a duplicate");
            }
        }
        let mut reason = String::new();
        let mut after_spec = true;
        for line in not_yet.lines().map(str::trim).filter(|l| !l.is_empty()) {
            match line.strip_prefix('#') {
                // A reason may take several lines.
                Some(text) if after_spec => {
                    text.trim().clone_into(&mut reason);
                    after_spec = false;
                }
                Some(text) => {
                    reason.push(' ');
                    reason.push_str(text.trim());
                }
                None => {
                    after_spec = true;
                    lists.add_not_yet(line, &reason)?;
                }
            }
        }
        Ok(lists)
    }

    /// Specs with this reason must pass.
    pub(super) fn require(&mut self, reason: &str) {
        let (required, rest) =
            std::mem::take(&mut self.not_yet).into_iter().partition(|(_, why)| why.starts_with(reason));
        let required: BTreeMap<String, String> = required;
        self.not_yet = rest;
        self.must_pass.extend(required.into_keys());
    }

    fn add_not_yet(&mut self, spec: &str, reason: &str) -> Result<()> {
        if reason.is_empty() {
            bail!("not-yet.txt: {spec} has no reason");
        }
        if self.must_pass.contains(spec) {
            bail!("{spec} is on both lists");
        }
        if self.not_yet.insert(spec.to_owned(), reason.to_owned()).is_some() {
            bail!("not-yet.txt: {spec} is a duplicate");
        }
        Ok(())
    }
}
