//! The lists of specs.
//!
//! A line is a spec's full name. A line that begins with `#` is a comment in `must-pass.txt`; in
//! `not-yet.txt`, and in `handlers/NAME.txt` for pods run by that handler, it is the reason for the specs below it.

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
    /// The lists of `dir`, for pods that this handler runs; a handler without a list of its own has no exceptions.
    pub(super) fn read(dir: &Path, handler: Option<&str>) -> Result<Self> {
        let text = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let mut lists = Self::parse(&text("must-pass.txt")?, &text("not-yet.txt")?)?;
        let of_handler = handler.map(|name| format!("handlers/{name}.txt"));
        if let Some(name) = of_handler.filter(|name| dir.join(name).exists()) {
            lists.except(&name, &text(&name)?)?;
        }
        Ok(lists)
    }

    pub(super) fn parse(must_pass: &str, not_yet: &str) -> Result<Self> {
        let mut lists = Self::default();
        for line in must_pass.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            if !lists.must_pass.insert(line.to_owned()) {
                bail!("must-pass.txt: {line} is a duplicate");
            }
        }
        for (spec, reason) in with_reasons("not-yet.txt", not_yet)? {
            lists.add_not_yet(spec, reason)?;
        }
        Ok(lists)
    }

    /// Specs that must pass, but not with this handler.
    pub(super) fn except(&mut self, list: &str, text: &str) -> Result<()> {
        for (spec, reason) in with_reasons(list, text)? {
            if !self.must_pass.remove(spec) {
                bail!("{list}: {spec} is a duplicate, or need not pass with any handler");
            }
            self.add_not_yet(spec, reason)?;
        }
        Ok(())
    }

    /// Specs with this reason must pass.
    pub(super) fn require(&mut self, reason: &str) {
        let (required, rest) =
            std::mem::take(&mut self.not_yet).into_iter().partition(|(_, why)| why.starts_with(reason));
        let required: BTreeMap<String, String> = required;
        self.not_yet = rest;
        self.must_pass.extend(required.into_keys());
    }

    fn add_not_yet(&mut self, spec: &str, reason: String) -> Result<()> {
        if self.must_pass.contains(spec) {
            bail!("{spec} is on both lists");
        }
        if self.not_yet.insert(spec.to_owned(), reason).is_some() {
            bail!("not-yet.txt: {spec} is a duplicate");
        }
        Ok(())
    }
}

/// The specs of a list, each with its reason, which may take several lines.
fn with_reasons<'t>(list: &str, text: &'t str) -> Result<Vec<(&'t str, String)>> {
    let mut specs = Vec::new();
    let (mut reason, mut after_spec) = (Vec::new(), true);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(part) = line.strip_prefix('#') {
            if std::mem::take(&mut after_spec) {
                reason.clear();
            }
            reason.push(part.trim());
        } else {
            if reason.is_empty() {
                bail!("{list}: {line} has no reason");
            }
            after_spec = true;
            specs.push((line, reason.join(" ")));
        }
    }
    Ok(specs)
}
