//! Measured values, and their medians in a table.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

/// What the project promises for a row, as SPECIFICATION.md has it. Less is better except where
/// it says otherwise.
const PROMISED: &[(&str, f64)] = &[
    ("pod up, host network", 15.0),
    ("pod up, pod network", 20.0),
    ("pod down, pod network", 20.0),
    ("pods up, 16 clients", 60.0),
    ("exec", 5.0),
    ("memory per pod", 0.4),
    ("daemon memory idle", 10.0),
    ("daemon memory with 50 pods", 20.0),
    ("daemon memory after pulls", 20.0),
    ("pull gzip", 2600.0),
    ("pull zstd", 1800.0),
    ("ListContainerStats, 50 pods", 2.0),
    ("ListPodSandboxStats, 50 pods", 2.0),
    ("ListContainerStats, 400 pods", 10.0),
    ("answers after stop, 50 pods", 100.0),
    ("answers after kill, 50 pods", 100.0),
    ("play, one container", 40.0),
    ("a core for exec probes of 100 pods", 25.0),
    ("ps, 100 pods", 10.0),
];

/// The unit of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    PerSecond,
    Mebibytes,
    MegabytesPerSecond,
    Percent,
}

impl Unit {
    fn text(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::PerSecond => "/s",
            Self::Mebibytes => "MiB",
            Self::MegabytesPerSecond => "MB/s",
            Self::Percent => "%",
        }
    }
}

/// All values of a run: rows in the order in which they first came, a column for each runtime.
#[derive(Debug)]
pub(super) struct Samples {
    labels: Vec<String>,
    current: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    unit: Unit,
    detail: bool,
    values: HashMap<String, Vec<f64>>,
}

impl Samples {
    pub(super) fn new(labels: Vec<String>) -> Self {
        Self { labels, current: String::new(), rows: Vec::new() }
    }

    /// What is noted from now on belongs to this runtime.
    pub(super) fn begin(&mut self, label: &str) {
        label.clone_into(&mut self.current);
    }

    /// Notes a duration.
    pub(super) fn time(&mut self, name: &str, took: Duration) {
        self.note(name, Unit::Milliseconds, false, took.as_secs_f64() * 1000.0);
    }

    /// Notes the duration of one call within a sum, shown only on demand.
    pub(super) fn detail(&mut self, name: &str, took: Duration) {
        self.note(name, Unit::Milliseconds, true, took.as_secs_f64() * 1000.0);
    }

    /// Notes any value.
    pub(super) fn value(&mut self, name: &str, unit: Unit, value: f64) {
        self.note(name, unit, false, value);
    }

    fn note(&mut self, name: &str, unit: Unit, detail: bool, value: f64) {
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name: name.to_owned(), unit, detail, values: HashMap::new() });
            self.rows.len() - 1
        });
        self.rows[at].values.entry(self.current.clone()).or_default().push(value);
    }

    /// The table on standard output.
    pub(super) fn print(&self, details: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        write!(out, "{:<34} {:>5}", "", "")?;
        for label in &self.labels {
            write!(out, " {label:>12}")?;
        }
        writeln!(out, " {:>12}", "promised")?;
        for row in self.rows.iter().filter(|row| details || !row.detail) {
            write!(out, "{:<34} {:>5}", row.name, row.unit.text())?;
            for label in &self.labels {
                match row.values.get(label) {
                    Some(values) => write!(out, " {:>12.2}", median(values))?,
                    None => write!(out, " {:>12}", "-")?,
                }
            }
            match PROMISED.iter().find(|(name, _)| *name == row.name) {
                Some((_, promised)) => writeln!(out, " {promised:>12}")?,
                None => writeln!(out)?,
            }
        }
        Ok(())
    }

    /// The medians as JSON: row, unit, and a value for each runtime.
    pub(super) fn json(&self) -> Value {
        let row = |row: &Row| {
            let medians: serde_json::Map<_, _> =
                row.values.iter().map(|(label, values)| (label.clone(), json!(median(values)))).collect();
            json!({ "name": row.name, "unit": row.unit.text(), "median": medians })
        };
        json!(self.rows.iter().map(row).collect::<Vec<_>>())
    }
}

/// The middle value; the mean of the two in the middle of an even number.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn values_are_kept_apart_by_row_and_runtime() {
        let mut samples = Samples::new(vec!["a".into(), "b".into()]);
        samples.begin("a");
        samples.time("x", Duration::from_millis(2));
        samples.begin("b");
        samples.value("x", Unit::Milliseconds, 4.0);
        assert_eq!(samples.json()[0]["median"], json!({ "a": 2.0, "b": 4.0 }));
    }
}
