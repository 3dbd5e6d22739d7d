//! Documents made from code.

mod cri;

use std::fmt::Write;

use anyhow::{Context, Result};
use berth_types::lifecycle::{Refused, container, sandbox};

use crate::run::{headline, root};

/// The documents, and what each of them is made of.
fn documents() -> Result<[(&'static str, String); 2]> {
    Ok([("docs/lifecycle.md", lifecycle()), ("docs/cri-fields.md", cri::fields()?)])
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
    stale.map(|(name, _)| format!("{name} differs from what it is made of: cargo xtask docs")).collect()
}

fn lifecycle() -> String {
    let mut text = String::from(
        "# The lifecycles\n\n\
         Made by `cargo xtask docs` from the tables in `crates/types/src/lifecycle/`. A cell is the state after\n\
         the event; an empty one is refused with a sentence. *same* is success with nothing to do.\n",
    );
    section(&mut text, "Container", &container::State::ALL, &container::Event::ALL, container::next);
    section(&mut text, "Pod sandbox", &sandbox::State::ALL, &sandbox::Event::ALL, sandbox::next);
    text
}

fn section<S, E>(
    text: &mut String,
    title: &str,
    states: &[S],
    events: &[E],
    next: fn(S, E) -> Result<S, Refused>,
) where
    S: Copy + PartialEq + std::fmt::Debug,
    E: Copy + std::fmt::Debug,
{
    let mut table = String::from("| state \\ event |");
    for event in events {
        write!(table, " {event:?} |").expect("writing to a String does not fail");
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(events.len()));
    let mut graph = String::new();
    for state in states {
        write!(table, "\n| {} |", name(state)).expect("writing to a String does not fail");
        for event in events {
            let cell = match next(*state, *event) {
                Ok(after) if after == *state => "same".to_owned(),
                Ok(after) => {
                    writeln!(graph, "    {} --> {}: {event:?}", node(state), node(&after))
                        .expect("writing to a String does not fail");
                    name(&after)
                }
                Err(_) => String::new(),
            };
            write!(table, " {cell} |").expect("writing to a String does not fail");
        }
    }
    write!(text, "\n## {title}\n\n{table}\n\n```mermaid\nstateDiagram-v2\n{graph}```\n")
        .expect("writing to a String does not fail");
}

/// `Stopping { then: Exited }` as `Stopping (then Exited)`.
fn name(state: &impl std::fmt::Debug) -> String {
    format!("{state:?}").replace("{ then: ", "(then ").replace(" }", ")")
}

/// The name as a word that Mermaid takes.
fn node(state: &impl std::fmt::Debug) -> String {
    format!("{state:?}").replace("{ then: ", "then_").replace(" }", "").replace(' ', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_row_and_a_refusal_is_empty() {
        let text = lifecycle();
        assert!(text.contains("\n| Stopping (then Removing) |"));
        assert!(text.contains("\n| Gone |  |"), "what is gone cannot be finished");
        assert!(text.contains("    Created --> Starting: Start\n"));
        assert!(text.contains("Running --> Stopping_then_Exited: Stop"));
    }
}
