//! What becomes of each field of each request of the CRI.

use std::fmt::Write;

use anyhow::{Context, Result};

use crate::run::root;

/// The verdicts: a table for each call, in the order of the file.
const SOURCE: &str = "crates/cri/fields.toml";

/// The document.
pub(super) fn fields() -> Result<String> {
    let path = root().join(SOURCE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    render(&text)
}

fn render(source: &str) -> Result<String> {
    let table: toml::Table = source.parse().with_context(|| format!("parse {SOURCE}"))?;
    let mut text = format!(
        "# The fields of the CRI\n\n\
         Made by `cargo xtask docs` from `{SOURCE}`, whose verdicts the tests of `crates/cri` hold against the descriptor\n\
         of the CRI and against the conversion: a field of a later CRI fails them until it has a verdict.\n\n\
         *Supported*: the field takes effect, or the call fails with an error that names it. *Refused*: the call fails\n\
         with an error that names it. *No effect*: it has no meaning here, for the reason given, and the call goes on. A verdict\n\
         of a message holds for everything in it.\n"
    );
    for call in calls(source) {
        let fields = table.get(call).and_then(toml::Value::as_table);
        let fields = fields.with_context(|| format!("{SOURCE}: {call} has no table"))?;
        write!(text, "\n## {call}\n\n").expect("writing to a String does not fail");
        if fields.is_empty() {
            text.push_str("Its request has no fields.\n");
            continue;
        }
        text.push_str("| field | verdict |\n|---|---|\n");
        for (field, verdict) in fields {
            let verdict =
                verdict.as_str().with_context(|| format!("{SOURCE}: {call}: {field} is not a string"))?;
            let name = if field == "call" { "the whole call".to_owned() } else { format!("`{field}`") };
            writeln!(text, "| {name} | {} |", verdict.replace('|', "\\|"))
                .expect("writing to a String does not fail");
        }
    }
    Ok(text)
}

/// The names of the tables in the order of the file, which the parser does not keep.
fn calls(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_fields_in_a_table() {
        let text = render("[B]\ncall = \"refused: no\"\n\n[A]\n\"x.y\" = \"supported\"\n\n[C]\n").unwrap();
        let (b, a) = (text.find("## B\n").unwrap(), text.find("## A\n").unwrap());
        assert!(b < a, "the order of the file");
        assert!(text.contains("| the whole call | refused: no |\n"));
        assert!(text.contains("| `x.y` | supported |\n"));
        assert!(text.ends_with("## C\n\nIts request has no fields.\n"));
        assert!(render("[A]\nx = 1\n").is_err());
    }

    #[test]
    fn the_file_of_the_project_is_rendered() {
        assert!(fields().unwrap().contains("## RunPodSandbox\n"));
    }
}
