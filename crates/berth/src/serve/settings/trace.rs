//! Where traces go.

use std::path::PathBuf;

use berth_trace::{Protocol, Ratio, Uri};

use super::{SettingsError, TraceProtocol, absolute, invalid};

/// The port that OTLP has for gRPC.
const GRPC_PORT: u16 = 4317;
/// The path of its call.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The path of its requests of HTTP, below what was given.
const HTTP_PATH: &str = "/v1/traces";

/// Where traces go, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// As a whole.
    pub(crate) endpoint: Uri,
    pub(crate) protocol: Protocol,
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) ratio: Ratio,
}

impl Trace {
    /// What was given; the rest is checked even where there is no collector.
    pub(super) fn of(
        endpoint: Option<String>,
        protocol: Option<TraceProtocol>,
        authorities: Option<PathBuf>,
        headers: Vec<String>,
        ratio: Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let ratio = ratio.map_or(Ok(Ratio::ALL), |text| {
            let ratio = text.parse().ok().and_then(Ratio::new);
            ratio.ok_or_else(|| {
                invalid("trace-sampling-ratio", &text, "expected a number from 0 to 1, such as 0.1")
            })
        })?;
        let authorities = authorities.map(|path| absolute("trace-ca", path)).transpose()?;
        let headers = headers.into_iter().map(|text| header(&text)).collect::<Result<_, _>>()?;
        let Some(given) = endpoint else { return Ok(None) };
        let (endpoint, protocol) = target(&given, protocol)
            .ok_or_else(|| invalid("trace-endpoint", &given, "expected http://HOST:PORT, or https"))?;
        Ok(Some(Self { endpoint, protocol, authorities, headers, ratio }))
    }
}

/// What is asked, and how.
fn target(given: &str, protocol: Option<TraceProtocol>) -> Option<(Uri, Protocol)> {
    let base: Uri = given.parse().ok()?;
    let authority = base.authority()?;
    if !["http", "https"].contains(&base.scheme_str()?) || base.query().is_some() {
        return None;
    }
    let protocol = match protocol {
        Some(TraceProtocol::Grpc) => Protocol::Grpc,
        Some(TraceProtocol::Http) => Protocol::Http,
        None if authority.port_u16() == Some(GRPC_PORT) => Protocol::Grpc,
        None => Protocol::Http,
    };
    let below = base.path().trim_end_matches('/');
    let path = match protocol {
        // A call has the path that it has.
        Protocol::Grpc => GRPC_PATH.to_owned(),
        Protocol::Http if below.ends_with(HTTP_PATH) => below.to_owned(),
        Protocol::Http => format!("{below}{HTTP_PATH}"),
    };
    let whole = Uri::builder().scheme(base.scheme_str()?).authority(authority.clone()).path_and_query(path);
    Some((whole.build().ok()?, protocol))
}

/// `name=value`, whose value may be percent-encoded.
fn header(text: &str) -> Result<(String, String), SettingsError> {
    // A value is not shown: it may be a secret.
    let wrong = || invalid("trace-header", "***", "expected NAME=VALUE");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().map_err(|_| wrong())?;
    let name = name.trim();
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_owned(), value.into_owned())) }
}

#[cfg(test)]
mod tests;
