//! What the tests of the machines share.

use super::Kinds;
use super::table::{Source, Table};

/// Kinds whose values can be told apart.
#[derive(Debug)]
pub(super) struct Numbers;

impl Kinds for Numbers {
    type Facts = &'static str;
    type Exit = u32;
    type Waiter = u32;
    type Error = &'static str;
}

/// Compares a table with the one that was settled. A line is a state and its cells, in the order of the columns. A
/// cell is `.` (nothing), or the state after (`=`: the same), with what is done after a colon: `w` the caller waits,
/// an answer is who (the first letter that `codes` gives) and `+` done, `-` failed, `!` refused.
pub(super) fn compare(table: &Table, settled: &str, names: &[(&str, &str)], codes: &[(&str, &str)]) {
    let name = |code: &str| names.iter().find(|(c, _)| *c == code).expect("a name for every code").1;
    let lines: Vec<Vec<&str>> = settled
        .lines()
        .map(|line| line.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>())
        .filter(|line: &Vec<&str>| !line.is_empty())
        .collect();
    assert_eq!(lines.len(), table.rows.len(), "a line for every state");
    for (line, row) in lines.iter().zip(&table.rows) {
        assert_eq!(name(line[0]), row.name);
        assert_eq!(line.len(), table.columns.len() + 1, "{}: a cell for every message", row.name);
        for ((cell, column), did) in line[1..].iter().zip(&table.columns).zip(&row.cells) {
            let place = format!("{} in {}", column.name, row.name);
            let (after, effects) = match *cell {
                "." => ("=", ""),
                cell => cell.split_once(':').unwrap_or((cell, "")),
            };
            let after = if after == "=" { &row.name } else { name(after) };
            assert_eq!(did.after, after, "{place}");
            let mut wanted: Vec<_> =
                effects.split(',').filter(|e| !e.is_empty()).map(str::to_owned).collect();
            let mut done: Vec<_> = did.effects.iter().map(|effect| code(effect, codes)).collect();
            if column.source == Source::Call && !did.effects.iter().any(|e| e.starts_with("caller")) {
                done.push("w".to_owned());
            }
            wanted.sort();
            done.sort();
            assert_eq!(done, wanted, "{place}");
        }
    }
}

fn code(effect: &str, codes: &[(&str, &str)]) -> String {
    let find = |text: &str| codes.iter().find(|(_, t)| *t == text).map(|(code, _)| (*code).to_owned());
    let answer = || {
        let (who, outcome) = effect.split_once(": ")?;
        let sign = match outcome {
            "done" => '+',
            "failed" => '-',
            _ => '!',
        };
        find(who).map(|who| format!("{who}{sign}"))
    };
    find(effect).or_else(answer).unwrap_or_else(|| panic!("no code for {effect}"))
}
