//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

use berth_types::metric::Family;

/// Lines that were written.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// What the lines after it are.
    pub(super) fn family(&mut self, family: Family) {
        let Family { name, kind, help, .. } = family;
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.word()));
    }

    /// A value.
    pub(super) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.push(format_args!("{}{label}=\"", if at == 0 { '{' } else { ',' }));
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.push(format_args!("{end} {value}\n"));
    }

    fn push(&mut self, words: std::fmt::Arguments<'_>) {
        self.0.write_fmt(words).expect("writing to a String does not fail");
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}
