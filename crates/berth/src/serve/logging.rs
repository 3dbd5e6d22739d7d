//! The daemon's log: standard error, filtered, as text or JSON.

use anyhow::Context;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

use super::settings::{LogFormat, Settings};

/// A bare level is Berth's; what the libraries say in detail is asked for by name.
fn directives(level: &str) -> String {
    const LIBRARIES: [&str; 6] = ["h2", "hyper", "hyper_util", "rustls", "tonic", "tower"];
    if level.contains(['=', ',']) {
        return level.to_owned();
    }
    LIBRARIES.iter().fold(level.to_owned(), |all, library| format!("{all},{library}=warn"))
}

/// Starts the log.
pub(super) fn start(settings: &Settings) -> anyhow::Result<()> {
    let filter: Targets = directives(&settings.log_level)
        .parse()
        .with_context(|| format!("--log-level {:?}", settings.log_level))?;
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started = match settings.log_format {
        LogFormat::Text => registry().with(lines.with_ansi(false).with_filter(filter)).try_init(),
        LogFormat::Json => registry().with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("start logging: {e}"))
}
