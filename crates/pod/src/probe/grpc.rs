//! The health service of gRPC (`grpc.health.v1.Health/Check`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use berth_types::error::chain;
use http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::check::Answer;
use super::http::user_agent;

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// The most bytes of an answer.
const MAX_ANSWER: usize = 4 << 10;
/// The most bytes of its headers.
const MAX_HEADERS: u32 = 16 << 10;
/// `ServingStatus.SERVING`
const SERVING: i32 = 1;

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// Asks whether `service` serves.
pub(super) async fn ask(address: IpAddr, port: u16, service: &str, timeout: Duration) -> Answer {
    match tokio::time::timeout(timeout, check(SocketAddr::new(address, port), service)).await {
        Ok(answer) => answer,
        Err(_) => Answer::late(timeout),
    }
}

async fn check(server: SocketAddr, service: &str) -> Answer {
    let endpoint = Endpoint::from_shared(format!("http://{server}"))
        .and_then(|endpoint| endpoint.user_agent(user_agent("probe")))
        .map(|endpoint| endpoint.http2_max_header_list_size(MAX_HEADERS));
    let channel = match endpoint {
        Ok(endpoint) => endpoint.connect().await,
        Err(e) => Err(e),
    };
    let channel = match channel {
        Ok(channel) => channel,
        Err(e) => return Answer::failure(format!("connect to {server}: {}", chain(&e))),
    };
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_ANSWER);
    if let Err(e) = client.ready().await {
        return Answer::failure(format!("connect to {server}: {}", chain(&e)));
    }
    let request = Request::new(HealthCheckRequest { service: service.to_owned() });
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    match client.unary(request, PathAndQuery::from_static(METHOD), codec).await {
        Ok(answer) => judge(answer.get_ref().status),
        Err(status) => refused(&status),
    }
}

fn judge(status: i32) -> Answer {
    let word = match status {
        SERVING => return Answer::success(""),
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "a status that gRPC does not have",
    };
    Answer::failure(format!("the health service says {word}"))
}

fn refused(status: &Status) -> Answer {
    let message = status.message();
    Answer::failure(match status.code() {
        Code::Unimplemented => {
            format!("the server has no health service (grpc.health.v1.Health): {message}")
        }
        code => format!("the health service failed: {code:?}: {message}"),
    })
}

#[cfg(test)]
mod tests;
