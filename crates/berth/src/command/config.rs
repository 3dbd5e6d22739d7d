//! `berth config`: the daemon's configuration as files and environment say it.

mod import;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use berth_types::setting::{FILE, KEYS, Key};
use serde_json::{Value, json};

use crate::client::Reach;
use crate::output::{Format, complain, line};
use crate::serve::settings::{Given, Layers, SettingsError, Source};

/// `berth config`
#[derive(Debug, clap::Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Read the configuration as a daemon would, and say what is wrong with it
    Check(Place),
    /// Show each setting and where it comes from
    Show(Show),
    /// Show a configuration with every key, commented out
    Default,
    /// Show the configuration of containerd or CRI-O as Berth's
    Import(import::Import),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The configuration file, with the files of config.d beside it [default: /etc/berth/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    place: Place,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Config {
    /// Does it, for the daemon of this instance.
    pub(crate) fn run(self, reach: &Reach) -> anyhow::Result<ExitCode> {
        let flags = Given { instance: reach.instance.clone(), ..Given::default() };
        match self.verb {
            Verb::Check(place) => check(&flags, &place),
            Verb::Show(show) => {
                let layers = Layers::read(&flags, show.place.config.as_deref())?;
                layers.resolve()?;
                shown(&layers, show.output)?;
                Ok(ExitCode::SUCCESS)
            }
            Verb::Import(import) => import.run(),
            Verb::Default => {
                line(commented().trim_end())?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn check(flags: &Given, place: &Place) -> anyhow::Result<ExitCode> {
    let layers = match Layers::read(flags, place.config.as_deref()) {
        Ok(layers) => layers,
        Err(SettingsError::Files(problems)) => {
            problems.iter().for_each(|problem| complain(&problem.to_string()));
            return Ok(ExitCode::FAILURE);
        }
        Err(other) => return Err(other.into()),
    };
    layers.resolve()?;
    match &layers.files[..] {
        [] => line(format_args!("there is no {FILE}: every setting has its default"))?,
        files => files.iter().try_for_each(|file| line(format_args!("{} is right", file.display())))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(layers: &Layers, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table | Format::Wide => {
            let rows: Vec<_> = KEYS.iter().map(|key| row(layers, key)).collect();
            format.table(&["KEY", "VALUE", "FROM"], &rows)
        }
        Format::Json => {
            let all: Vec<_> = KEYS.iter().map(|key| object(layers, key)).collect();
            line(serde_json::to_string_pretty(&all)?)
        }
        Format::Yaml | Format::Name => {
            let all: Vec<_> = KEYS.iter().map(|key| object(layers, key)).collect();
            format.shows(&serde_json::json!(all), Some(|of| crate::output::text_of(of, "key"))).map(drop)
        }
    }
}

fn row(layers: &Layers, key: &Key) -> Vec<String> {
    let value = match layers.value(key) {
        Some(value) => value.to_string(),
        None => key.standard.words().map_or_else(|| "-".to_owned(), |words| format!("({words})")),
    };
    let from = match layers.said(key).map(|(_, source)| source) {
        None => "default".to_owned(),
        Some(Source::Flag(name)) => format!("--{name}"),
        Some(Source::Environment(variable)) => variable.clone(),
        Some(Source::File(_, place)) => format!("{}:{}", place.path.display(), place.line),
    };
    vec![key.name.to_owned(), value, from]
}

fn object(layers: &Layers, key: &Key) -> Value {
    let from = match layers.said(key).map(|(_, source)| source) {
        None => json!({ "kind": "default" }),
        Some(Source::Flag(name)) => json!({ "kind": "flag", "name": format!("--{name}") }),
        Some(Source::Environment(variable)) => json!({ "kind": "environment", "name": variable }),
        Some(Source::File(_, place)) => json!({
            "kind": "file", "path": place.path.display().to_string(), "line": place.line, "column": place.column,
        }),
    };
    json!({ "key": key.name, "value": layers.value(key), "from": from })
}

/// The configuration as a package installs it: all keys with their defaults, commented out.
pub(crate) fn commented() -> String {
    let mut text = format!(
        "# {FILE}: the settings of the Berth daemon, see berth-serve(1) and docs/configuration.md.\n\
         # Files of config.d beside this one add to it, by their names; a later one wins. Every key is also a flag of\n\
         # `berth serve` and a variable of its environment (BERTH_LOG_LEVEL), which override files. Without changes\n\
         # the defaults apply. `berth config check` says what is wrong with a file.\n\
         # After a change: systemctl reload berth, or restart it for keys marked (start). Pods keep running.\n"
    );
    for key in KEYS {
        let start = if key.change == berth_types::setting::Change::Start { " (start)" } else { "" };
        let (help, example) = (key.help(), key.line());
        write!(text, "\n# {help}{start}\n#{example}\n").expect("writing to a String does not fail");
    }
    text
}

#[cfg(test)]
mod tests;
