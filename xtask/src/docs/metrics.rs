//! docs/metrics.md: the table of metrics.

use std::fmt::Write as _;

use berth_types::metric::FAMILIES;

/// The document.
pub(super) const NAME: &str = "docs/metrics.md";

const HEAD: &str = "# Metrics

Made by `cargo xtask docs` from `crates/types/src/metric.rs`.

`berth serve --metrics-address 127.0.0.1:9100` (or `unix:/run/berth/metrics.sock`, for root alone) serves these at `/metrics` by HTTP/1
in the text format of Prometheus. Only addresses of loopback are taken, since nobody is asked who they are. Without the flag nothing
is counted but bytes that were fetched. At most 16 connections are answered at a time, each for up to 60 s. What pods and containers use is served by the CRI
([stats.md](stats.md)).

| name | kind | labels | what it tells |
|---|---|---|---|
";

/// The document.
pub(super) fn text() -> String {
    let mut text = String::from(HEAD);
    for family in FAMILIES {
        let labels = family.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(text, "| `{}` | {} | {labels} | {} |", family.name, family.kind.word(), family.help)
            .expect("writing to a String does not fail");
    }
    text
}
