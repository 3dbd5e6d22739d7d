//! The daemon's log: standard error, filtered, as text or JSON. Each line has the ids of what it is about.

use std::fmt;

use berth_engine::About;
use berth_types::id::SHORT;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, format};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt as lines, registry, reload};

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
    let lines = lines::layer().with_writer(std::io::stderr).with_ansi(false);
    let started = match settings.log_format {
        LogFormat::Text => registry().with(lines.event_format(Text::new()).with_filter(filter)).try_init(),
        LogFormat::Json => {
            let lines = lines.json().event_format(Object::new());
            registry().with(lines.with_filter(filter)).try_init()
        }
    };
    started.map_err(|e| anyhow::anyhow!("start logging: {e}"))?;
    Ok(Level(handle))
}

/// Lines of text, with ids where the line itself has none.
struct Text(Format<Full>);

impl Text {
    fn new() -> Self {
        Self(format().with_target(false))
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(line.trim_end_matches('\n'))?;
        let about = About::now();
        let has = |name: &str| event.metadata().fields().field(name).is_some();
        for (name, short, id) in ids(&about).into_iter().filter(|(_, short, _)| !has(short)) {
            let is_of_berth = name != short;
            let shown = if is_of_berth { id.get(..SHORT).unwrap_or(&id) } else { &id };
            // It is another's, who may have a line's end in it.
            let plain = shown.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if plain { write!(writer, " {short}={shown}")? } else { write!(writer, " {short}={shown:?}")? }
        }
        writeln!(writer)
    }
}

/// Objects of JSON, with the whole ids.
struct Object(Format<Json>);

impl Object {
    fn new() -> Self {
        Self(format().with_target(false).json().flatten_event(true))
    }
}

impl<S, N> FormatEvent<S, N> for Object
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let Some(open) = line.trim_end().strip_suffix('}') else { return writer.write_str(&line) };
        writer.write_str(open)?;
        for (name, _, id) in ids(&About::now()) {
            write!(writer, ",\"{name}\":{}", serde_json::Value::String(id))?;
        }
        writeln!(writer, "}}")
    }
}

/// What a line is about: the names of the fields with the whole ids, those that lines have themselves, and the ids.
fn ids(about: &About) -> Vec<(&'static str, &'static str, String)> {
    let mut ids = Vec::new();
    ids.extend(about.uid().map(|uid| ("pod_uid", "pod_uid", uid.to_owned())));
    ids.extend(about.sandbox().map(|id| ("sandbox_id", "sandbox", id.to_string())));
    ids.extend(about.container().map(|id| ("container_id", "container", id.to_string())));
    ids.extend(about.trace().map(|id| ("trace_id", "trace_id", id.to_string())));
    ids
}

#[cfg(test)]
mod tests;
