//! The settings of the daemon, each of which is a flag of `berth serve`, a variable of its environment and a key of its
//! configuration files. The one table of them: the help of the flags, the checks of files, `berth config` and
//! docs/configuration.md are made from it.

pub mod foreign;
mod table;

#[cfg(test)]
mod tests;

pub use table::KEYS;

/// The configuration file of a daemon that is told of no other.
pub const FILE: &str = "/etc/berth/config.toml";

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name in a file; a flag has two dashes before it.
    pub name: &'static str,
    /// What the value of the flag is called.
    pub value: &'static str,
    /// What it may be.
    pub form: Form,
    /// What it is where nothing is said.
    pub standard: Standard,
    /// When a change of it takes effect.
    pub change: Change,
    /// What it is for, as one line.
    pub help: &'static str,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A string.
    Text,
    /// A list of strings.
    List,
    /// A whole number from 0 up to this.
    Number(i64),
    /// One of these strings.
    Word(&'static [&'static str]),
    /// true or false.
    Switch,
}

/// What a setting is where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standard {
    /// Nothing.
    Nothing,
    /// This string, for another instance with its name in it.
    OfInstance(&'static str),
    /// This string.
    Text(&'static str),
    /// These strings.
    List(&'static [&'static str]),
    /// This number.
    Number(i64),
    /// Off, of a switch.
    Off,
    /// Something that is found out, in these words.
    Found(&'static str),
}

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// When the daemon is told to read its configuration again.
    Reload,
    /// When the daemon is started again.
    Start,
}

impl Key {
    /// The setting of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The variable of the environment.
    pub fn variable(&self) -> String {
        format!("BERTH_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// The variables of OpenTelemetry that say the same, of which an earlier one counts more. The own one counts most.
    pub fn shared_variables(&self) -> &'static [&'static str] {
        match self.name {
            "trace-endpoint" => &["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
            "trace-protocol" => &["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
            "trace-ca" => &["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
            "trace-header" => &["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
            _ => &[],
        }
    }

    /// The help of the flag, with the default.
    pub fn help(&self) -> String {
        let repeatable = if self.form == Form::List { "; repeatable" } else { "" };
        match self.standard.words() {
            Some(words) => format!("{}{repeatable} [default: {words}]", self.help),
            None => format!("{}{repeatable}", self.help),
        }
    }

    /// A line of a file that says what holds without it, or has an empty value where nothing does.
    pub fn line(&self) -> String {
        let quoted = |text: &str| format!("{text:?}");
        let value = match (self.standard, self.form) {
            (Standard::Text(text) | Standard::OfInstance(text), _) => quoted(text),
            (Standard::List(list), _) => {
                format!("[{}]", list.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
            }
            (Standard::Number(number), _) => number.to_string(),
            (Standard::Off, _) | (_, Form::Switch) => "false".to_owned(),
            (_, Form::List) => "[]".to_owned(),
            (_, Form::Number(_)) => "0".to_owned(),
            (_, Form::Word([first, ..])) => quoted(first),
            (_, Form::Text | Form::Word([])) => "\"\"".to_owned(),
        };
        format!("{} = {value}", self.name)
    }
}

impl Standard {
    /// For people; none where there is nothing to say.
    pub fn words(self) -> Option<String> {
        match self {
            Self::Nothing | Self::Off | Self::List([]) => None,
            Self::Text(text) | Self::OfInstance(text) | Self::Found(text) => Some(text.to_owned()),
            Self::List(list) => Some(list.join(", ")),
            Self::Number(number) => Some(number.to_string()),
        }
    }
}

impl Form {
    /// What is expected, for messages.
    pub fn words(self) -> String {
        match self {
            Self::Text => "a string".to_owned(),
            Self::List => "a list of strings".to_owned(),
            Self::Number(most) => format!("a whole number from 0 to {most}"),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Switch => "true or false".to_owned(),
        }
    }
}
