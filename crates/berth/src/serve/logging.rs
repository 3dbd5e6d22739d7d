//! The daemon's log: standard error, filtered, as text or JSON.

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

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
    let filter = EnvFilter::builder()
        .parse(directives(&settings.log_level))
        .with_context(|| format!("--log-level {:?}", settings.log_level))?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match settings.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("start the log: {e}"))
}
