//! Ginkgo's JSON report, as far as it matters.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The outcome of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    /// Not run, by a filter or by its own decision.
    Skipped,
}

/// One spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    /// The texts of its containers and its own, joined.
    pub(super) name: String,
    pub(super) outcome: Outcome,
    /// The message of its failure, on one line.
    pub(super) said: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Option<Vec<SpecReport>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SpecReport {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: Option<String>,
}

/// The longest part of a message that is shown.
const MESSAGE: usize = 300;

/// Reads a report.
pub(super) fn read(path: &Path) -> Result<Vec<Spec>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is not a report of ginkgo", path.display()))
}

pub(super) fn parse(text: &str) -> Result<Vec<Spec>> {
    let suites: Vec<Suite> = serde_json::from_str(text)?;
    let reports = suites.into_iter().flat_map(|suite| suite.spec_reports.unwrap_or_default());
    Ok(reports.filter(|report| report.leaf_node_type == "It").map(spec).collect())
}

fn spec(report: SpecReport) -> Spec {
    let mut texts = report.container_hierarchy_texts.unwrap_or_default();
    texts.push(report.leaf_node_text);
    let message = report.failure.and_then(|failure| failure.message).unwrap_or_default();
    let said: String =
        message.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MESSAGE).collect();
    let outcome = match report.state.as_str() {
        "passed" => Outcome::Passed,
        "skipped" | "pending" => Outcome::Skipped,
        // failed, panicked, timedout, interrupted, aborted
        _ => Outcome::Failed,
    };
    Spec { name: texts.join(" ").trim().to_owned(), outcome, said }
}
