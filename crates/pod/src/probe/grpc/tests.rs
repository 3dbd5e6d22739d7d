use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::Ipv4Addr;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Response;
use tonic::server::UnaryService;

use super::*;
use crate::probe::state::Outcome::{self, *};

/// Knows two services.
struct Health;

impl UnaryService<HealthCheckRequest> for Health {
    type Response = HealthCheckResponse;
    type Future = Ready<Result<Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        ready(match request.get_ref().service.as_str() {
            "" => Ok(Response::new(HealthCheckResponse { status: SERVING })),
            "ill" => Ok(Response::new(HealthCheckResponse { status: 2 })),
            "silent" => Err(Status::unimplemented("none here")),
            other => Err(Status::not_found(other.to_owned())),
        })
    }
}

async fn serve() -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                assert_eq!(request.uri().path(), METHOD);
                let codec = ProstCodec::<HealthCheckResponse, HealthCheckRequest>::default();
                Ok::<_, Infallible>(tonic::server::Grpc::new(codec).unary(Health, request).await)
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        }
    });
    (port, task)
}

async fn outcome(port: u16, service: &str) -> (Outcome, String) {
    let answer = ask(Ipv4Addr::LOCALHOST.into(), port, service, Duration::from_secs(10)).await;
    (answer.outcome, answer.message)
}

#[tokio::test]
async fn a_service_that_serves_is_healthy() {
    let (port, _task) = serve().await;
    assert_eq!(outcome(port, "").await.0, Success);
    for (service, word) in
        [("ill", "NOT_SERVING"), ("silent", "has no health service"), ("other", "NotFound: other")]
    {
        let (outcome, message) = outcome(port, service).await;
        assert_eq!(outcome, Failure, "{service}");
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test]
async fn no_server_and_a_silent_one_are_failures() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    // It takes the connection and says nothing.
    let answer = ask(Ipv4Addr::LOCALHOST.into(), port, "", Duration::from_millis(50)).await;
    assert_eq!(answer, Answer::late(Duration::from_millis(50)));
    drop(nobody);
    let (outcome, message) = outcome(port, "").await;
    assert_eq!(outcome, Failure);
    assert!(message.contains("connect to 127.0.0.1:"), "{message}");
}
