//! The table in docs/handlers.md of what differs. The rest of the document is written by hand.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use berth_types::ability::{Ability, Maker};

use crate::run::root;

/// The document.
pub(super) const NAME: &str = "docs/handlers.md";
/// What stands before and behind the table.
const BEGIN: &str = "<!-- The table is made by `cargo xtask docs` from crates/types/src/ability.rs, which the code that refuses asks. -->\n";
const END: &str = "<!-- The table ends. -->\n";

/// The document with the table as the code has it.
pub(super) fn with_table() -> Result<String> {
    let path = root().join(NAME);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    replaced(&text).with_context(|| format!("{NAME} has no line {BEGIN:?} with {END:?} after it"))
}

fn replaced(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", table()))
}

fn table() -> String {
    let mut text = String::from("| |");
    for maker in Maker::ALL {
        write!(text, " {} |", maker.words()).expect("writing to a String does not fail");
    }
    write!(text, "\n|---|{}", "---|".repeat(Maker::ALL.len())).expect("writing to a String does not fail");
    for ability in Ability::ALL {
        write!(text, "\n| {} |", ability.words()).expect("writing to a String does not fail");
        for maker in Maker::ALL {
            write!(text, " {} |", ability.of(maker)).expect("writing to a String does not fail");
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_alone_is_replaced() {
        let text = format!("# Handlers\n{BEGIN}\n| of before |\n{END}\nmore\n");
        let new = replaced(&text).unwrap();
        assert!(
            new.starts_with("# Handlers\n") && new.ends_with("\nmore\n") && !new.contains("of before"),
            "{new}"
        );
        assert!(
            new.contains(
                "\n| environment variables whose values are not text | yes | refused by name | refused by name | refused by name |\n"
            )
        );
        assert_eq!(replaced(&new), Some(new));
        assert_eq!(replaced("without"), None);
    }
}
