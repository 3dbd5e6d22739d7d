//! The flags of `berth serve`, with their help from the table of settings.

use berth_types::setting::KEYS;
use clap::error::Error;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::Given;

/// What was given as flags.
#[derive(Debug, Clone)]
pub(crate) struct Flags(pub(crate) Given);

impl Flags {
    fn explained(command: Command) -> Command {
        let has = |command: &Command, id: &str| command.get_arguments().any(|flag| flag.get_id() == id);
        KEYS.iter().fold(command, |command, key| {
            // That of the instance is one of every command.
            let id = key.name.replace('-', "_");
            if key.name == "instance" || !has(&command, &id) {
                return command;
            }
            command.mut_arg(id, |flag| flag.help(key.help()).value_name(key.value))
        })
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        Self::explained(Given::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::explained(Given::augment_args_for_update(command))
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Given::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}
