//! Documents made from code.

mod cri;
mod handlers;
mod metrics;
mod migrating;
mod settings;

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use berth_types::lifecycle::table::{self, Cell, Column, Row, Source, Table};
use berth_types::lifecycle::{container, sandbox};

use crate::run::{headline, root};

/// The documents, and what each of them is made of.
fn documents() -> Result<[(&'static str, String); 6]> {
    Ok([
        ("docs/lifecycle.md", lifecycle()),
        ("docs/cri-fields.md", cri::fields()?),
        (handlers::NAME, handlers::with_table()?),
        (metrics::NAME, metrics::text()),
        (migrating::NAME, migrating::text()),
        (settings::NAME, settings::text()),
    ])
}

/// Writes them.
pub(crate) fn write() -> Result<()> {
    for (name, text) in documents()? {
        let path = root().join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        headline(&format!("docs: wrote {name}"));
    }
    Ok(())
}

/// Those that are not as the code says.
pub(crate) fn stale() -> Vec<String> {
    let documents = match documents() {
        Ok(documents) => documents,
        Err(error) => return vec![format!("{error:#}")],
    };
    let differs = |(name, text): &(&str, String)| {
        std::fs::read_to_string(root().join(name)).unwrap_or_default() != *text
    };
    let stale = documents.iter().filter(|document| differs(document));
    stale.map(|(name, _)| format!("{name} is out of date: run cargo xtask docs")).collect()
}

const HEAD: &str = "# The lifecycles

Made by `cargo xtask docs` from the machines in `crates/types/src/lifecycle/`: each cell is what the machine did.
A cell has the state after the message in bold, if it is another one, and what is done. `start: done` is an answer to
the callers of Start; `caller` is the one that the message brought. *waits* is a call that is answered later; an empty
cell is a report that changes nothing.
";

const CONTAINER: &str = "
A container is Exited only when nothing of it lives. *ended* has got the report of the end before the work that says what
kind of end it is reported; *overdue* is a start whose answer did not come; the state in brackets is the one that a
stopping container came from, and to which it goes back when it cannot be killed.
";

const SANDBOX: &str = "
What is asked while a sandbox is being made begins when it is up. *Settling* waits for containers that were being made
when it went down.
";

const POD: &str = "
Sandbox and way to the shim, for a pod without containers. Besides:

- A lost connection changes no container. *Connected* brings the shim's report on each: it lives (`Found created`,
  `Found running`) or has ended (`Exited`).
- A dead shim of a Ready pod makes the containers that lived Unknown, until the pod is down.
- When a pod is down, every container that could live has ended. One that was being made ends when it is prepared, and
  its creator is refused.
- A container is created in a pod that is Ready and Connected only. In one that is Ready and Silent, and in which
  nothing lives, the call fails and takes the pod down: a new one can be created.
- A container is started in a pod that is Ready only.
- Containers are gone with their sandbox.
";

fn lifecycle() -> String {
    let mut text = String::from(HEAD);
    let listed = container::State::ALL.iter().map(|s| (name(s), s.listed().map(|l| format!("{l:?}"))));
    section(&mut text, "Container", CONTAINER, &table::container(), &listed.collect::<Vec<_>>());
    let listed = sandbox::State::ALL.iter().map(|s| (name(s), s.listed().map(|l| format!("{l:?}"))));
    section(&mut text, "Pod sandbox", SANDBOX, &table::sandbox(), &listed.collect::<Vec<_>>());
    let pod = table::pod();
    text.push_str("\n## Pod\n");
    text.push_str(POD);
    messages(&mut text, &pod.columns);
    cells(&mut text, "sandbox / shim", &pod, |_| true);
    text
}

fn section(text: &mut String, title: &str, says: &str, table: &Table, listed: &[(String, Option<String>)]) {
    write!(text, "\n## {title}\n{says}\n").expect("writing to a String does not fail");
    graph(text, table);
    text.push_str("\n| state | listed by the CRI as |\n|---|---|\n");
    for (state, listed) in listed {
        let listed = listed.as_deref().unwrap_or("-");
        writeln!(text, "| {state} | {listed} |").expect("writing to a String does not fail");
    }
    for (source, title) in
        [(Source::Call, "Calls"), (Source::Work, "Reports of work"), (Source::Shim, "Reports of the shim")]
    {
        writeln!(text, "\n### {title}").expect("writing to a String does not fail");
        let columns: Vec<_> = table.columns.iter().filter(|column| column.source == source).collect();
        messages(text, columns);
        cells(text, "state", table, |column| column.source == source);
    }
}

fn messages<'a>(text: &mut String, columns: impl IntoIterator<Item = &'a Column>) {
    text.push('\n');
    for column in columns {
        writeln!(text, "- `{}`: {}", column.name, column.says).expect("writing to a String does not fail");
    }
}

fn cells(text: &mut String, corner: &str, table: &Table, shown: impl Fn(&Column) -> bool) {
    let columns: Vec<_> = table.columns.iter().enumerate().filter(|(_, column)| shown(column)).collect();
    write!(text, "\n| {corner} |").expect("writing to a String does not fail");
    for (_, column) in &columns {
        write!(text, " {} |", column.name).expect("writing to a String does not fail");
    }
    write!(text, "\n|---|{}", "---|".repeat(columns.len())).expect("writing to a String does not fail");
    for row in &table.rows {
        write!(text, "\n| {} |", row.name).expect("writing to a String does not fail");
        for (at, column) in &columns {
            write!(text, " {} |", cell(row, column, &row.cells[*at]))
                .expect("writing to a String does not fail");
        }
    }
    text.push('\n');
}

fn cell(row: &Row, column: &Column, cell: &Cell) -> String {
    let mut parts = Vec::new();
    if cell.after != row.name {
        parts.push(format!("**{}**", cell.after));
    }
    parts.extend(cell.effects.iter().cloned());
    if column.source == Source::Call && !cell.effects.iter().any(|effect| effect.starts_with("caller")) {
        parts.push("*waits*".to_owned());
    }
    parts.join("; ")
}

/// Arrows between the states alone, each with every message that goes that way.
fn graph(text: &mut String, table: &Table) {
    let mut order: Vec<(&str, &str)> = Vec::new();
    let mut arrows: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for row in &table.rows {
        for (column, cell) in table.columns.iter().zip(&row.cells).filter(|(_, cell)| cell.state != row.state)
        {
            let ends = (row.state.as_str(), cell.state.as_str());
            if !order.contains(&ends) {
                order.push(ends);
            }
            let names = arrows.entry(ends).or_default();
            if !names.contains(&column.name) {
                names.push(column.name);
            }
        }
    }
    text.push_str("```mermaid\nstateDiagram-v2\n");
    for ends in order {
        let (from, to) = (node(ends.0), node(ends.1));
        writeln!(text, "    {from} --> {to}: {}", arrows[&ends].join(" / "))
            .expect("writing to a String does not fail");
    }
    text.push_str("```\n");
}

/// `Stopping { then: Exited }` as `Stopping (then Exited)`.
fn name(state: &impl std::fmt::Debug) -> String {
    format!("{state:?}").replace("{ then: ", "(then ").replace(" }", ")")
}

/// The name as a word that Mermaid takes.
fn node(name: &str) -> String {
    name.replace(" (", "_").replace(')', "").replace(' ', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_row_in_every_table() {
        let text = lifecycle();
        for state in ["Stopping (Running), then Removing", "Unknown, started", "Starting, overdue"] {
            assert_eq!(text.matches(&format!("\n| {state} |")).count(), 3, "{state}");
        }
        assert_eq!(text.matches("\n| StopFailed |").count(), 4, "listed, and three tables");
    }

    #[test]
    fn cells_say_what_is_done() {
        let text = lifecycle();
        assert!(text.contains("\n| Created | caller: done | **Starting**; begin the start; *waits* |"));
        assert!(
            text.contains("\n| Gone | caller: refused | caller: refused | caller: done | caller: done |")
        );
        assert!(text.contains("    Created --> Starting: Start\n"));
        assert!(text.contains("    Stopping_then_Removing --> Removing: "));
        assert!(text.contains("\n| Ready / Connected | **Ready / Lost**; connect again |"));
    }

    #[test]
    fn every_message_is_explained() {
        for table in [table::container(), table::sandbox(), table::pod()] {
            for column in &table.columns {
                assert!(lifecycle().contains(&format!("\n- `{}`: {}\n", column.name, column.says)));
            }
        }
    }
}
