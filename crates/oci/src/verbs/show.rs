//! `state` and `list`.

use crate::OciError;
use crate::cli::Format;
use crate::log::Log;
use crate::record::State;
use crate::store::Store;

use super::print;

pub(super) fn state(store: &Store, id: &str) -> Result<(), OciError> {
    let container = store.open(id)?;
    let record = container.load()?;
    let status = container.status(&record)?;
    let text = serde_json::to_string_pretty(&record.state(status, record.pid()));
    print(&(text.map_err(|e| OciError::invalid("the state", e))? + "\n"))
}

pub(super) fn list(store: &Store, format: Format, quiet: bool, log: &Log) -> Result<(), OciError> {
    let mut records = Vec::new();
    for container in store.list()? {
        let looked = container.load().and_then(|record| Ok((container.status(&record)?, record)));
        match looked {
            Ok(found) => records.push(found),
            // Being made, or removed.
            Err(OciError::NotFound { .. }) => {}
            // The others are to be seen all the same.
            Err(error) => log.warn(&berth_types::error::chain(&error)),
        }
    }
    let states: Vec<State<'_>> =
        records.iter().map(|(status, record)| record.state(*status, record.pid())).collect();
    if quiet {
        return print(&records.iter().map(|(_, record)| record.id.clone() + "\n").collect::<String>());
    }
    match format {
        Format::Json => {
            let text = serde_json::to_string(&states).map_err(|e| OciError::invalid("the states", e))?;
            print(&(text + "\n"))
        }
        Format::Table => print(&table(&states)),
    }
}

fn table(states: &[State<'_>]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(states.iter().map(State::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
