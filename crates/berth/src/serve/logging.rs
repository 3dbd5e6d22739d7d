//! The daemon's log: standard error, filtered, as text or JSON.

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry, reload};

use super::settings::{LogFormat, Settings};

/// A bare level is Berth's; what the libraries say in detail is asked for by name.
fn directives(level: &str) -> String {
    const LIBRARIES: [&str; 6] = ["h2", "hyper", "hyper_util", "rustls", "tonic", "tower"];
    if level.contains(['=', ',']) {
        return level.to_owned();
    }
    LIBRARIES.iter().fold(level.to_owned(), |all, library| format!("{all},{library}=warn"))
}

/// What is logged at this level.
///
/// # Errors
/// What is wrong with it.
pub(super) fn filter(level: &str) -> Result<Targets, String> {
    const LEVELS: &str =
        "expected error, warn, info, debug, trace or off, or a filter such as berth_engine=debug";
    directives(level).parse().map_err(|_| LEVELS.to_owned())
}

/// Changes what is logged, while the log goes on.
#[derive(Debug, Clone)]
pub(super) struct Level(reload::Handle<Targets, Registry>);

impl Level {
    /// From now on this is logged.
    pub(super) fn set(&self, level: &str) -> Result<(), String> {
        self.0.reload(filter(level)?).map_err(|e| e.to_string())
    }
}

/// Starts the log.
pub(super) fn start(settings: &Settings) -> anyhow::Result<Level> {
    let filter = filter(&settings.log_level)
        .map_err(|why| anyhow::anyhow!("--log-level {:?}: {why}", settings.log_level))?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started = match settings.log_format {
        LogFormat::Text => registry().with(lines.with_ansi(false).with_filter(filter)).try_init(),
        LogFormat::Json => registry().with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("start logging: {e}"))?;
    Ok(Level(handle))
}
