use std::convert::Infallible;

use berth_testkit::collector::{Collector, Seen};
use berth_types::trace::TraceId;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn tracer(collector: &Collector, ratio: f64) -> (Tracer, JoinHandle<()>) {
    let port = collector.address().port();
    let path = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let settings = berth_trace::Settings {
        endpoint: format!("http://127.0.0.1:{port}/{path}").parse().unwrap(),
        protocol: berth_trace::Protocol::Grpc,
        authorities: None,
        headers: Vec::new(),
        resource: Vec::new(),
    };
    let (exporter, task) = Exporter::start(&settings).unwrap();
    (Tracer { exporter, ratio: Ratio::new(ratio).unwrap() }, task)
}

/// What a collector sees of calls of this path: each with a header, and with the status that it is answered with.
async fn seen(ratio: f64, path: &str, calls: &[(Option<&str>, Option<&str>)]) -> Vec<Seen> {
    let collector = Collector::grpc().unwrap();
    let (tracer, task) = tracer(&collector, ratio);
    let exporter = Arc::clone(&tracer.exporter);
    let answered = |request: Request<&'static str>| async move {
        let mut response = Response::new(());
        if let Some(status) = request.headers().get("answer") {
            response.headers_mut().insert("grpc-status", status.clone());
            response.headers_mut().insert("grpc-message", "no%20pod".parse().unwrap());
        }
        Ok::<_, Infallible>(response)
    };
    let mut service = Traced { inner: tower::service_fn(answered), tracer: Some(tracer) };
    for (parent, status) in calls {
        let mut request = Request::builder().uri(format!("http://x{path}")).body("").unwrap();
        let mut header = |name: &'static str, value: &Option<&str>| {
            value.map(|value| request.headers_mut().insert(name, value.parse().unwrap()))
        };
        header(TRACEPARENT, parent);
        header("answer", status);
        service.call(request).await.unwrap();
    }
    exporter.end();
    task.await.unwrap();
    collector.seen()
}

const STATUS: &str = "/runtime.v1.RuntimeService/PodSandboxStatus";

#[tokio::test]
async fn a_call_is_a_span_of_its_callers() {
    let seen = seen(0.0, STATUS, &[(Some(PARENT), None), (Some(PARENT), Some("5"))]).await;
    let [fine, refused] = seen.as_slice() else { panic!("{seen:?}") };
    let parent = Context::parse(PARENT).unwrap();
    for one in [fine, refused] {
        assert_eq!(one.span.trace_id, parent.trace.0);
        assert_eq!(one.span.parent_span_id, parent.span.0);
        assert_eq!(one.span.name, "runtime.v1.RuntimeService/PodSandboxStatus");
        assert_eq!(one.attribute("rpc.method").as_deref(), Some("PodSandboxStatus"));
        assert_eq!(one.attribute("rpc.service").as_deref(), Some("runtime.v1.RuntimeService"));
    }
    assert_eq!(fine.span.status, None);
    assert_eq!(fine.attribute("rpc.response.status_code").as_deref(), Some("OK"));
    assert_eq!(refused.span.status.as_ref().unwrap().message, "NOT_FOUND: no pod");
}

#[tokio::test]
async fn the_callers_flag_counts_more_than_the_ratio() {
    let not_kept = PARENT.replace("-01", "-00");
    assert_eq!(seen(1.0, STATUS, &[(Some(&not_kept), None)]).await.len(), 0);
    assert_eq!(seen(0.0, STATUS, &[(None, None), (Some("what"), None)]).await.len(), 0);
    // What is no parent is none: a trace begins here.
    let fresh = seen(1.0, STATUS, &[(None, None), (Some("what"), None)]).await;
    let [one, other] = fresh.as_slice() else { panic!("{fresh:?}") };
    assert_ne!(one.span.trace_id, other.span.trace_id);
    assert!(one.span.parent_span_id.is_empty() && other.span.parent_span_id.is_empty());
}

#[tokio::test]
async fn only_calls_of_the_cri_are_told() {
    assert_eq!(seen(1.0, "/berth.v1.Berth/Info", &[(Some(PARENT), None)]).await.len(), 0);
}

#[tokio::test]
async fn a_call_that_is_given_up_is_told_as_such() {
    let collector = Collector::grpc().unwrap();
    let (tracer, task) = tracer(&collector, 1.0);
    let exporter = Arc::clone(&tracer.exporter);
    let hangs = |_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>();
    let mut service = Traced { inner: tower::service_fn(hangs), tracer: Some(tracer) };
    drop(service.call(Request::builder().uri(format!("http://x{STATUS}")).body(()).unwrap()));
    exporter.end();
    task.await.unwrap();
    let seen = collector.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].attribute("rpc.response.status_code").as_deref(), Some("CANCELLED"));
}

#[test]
fn without_a_tracer_the_trace_of_the_caller_is_known_still() {
    let service = Traced { inner: (), tracer: None };
    let mut headers = HeaderMap::new();
    let known = |headers: &HeaderMap| service.begin(headers).trace();
    assert_eq!(known(&headers), None);
    headers.insert(TRACEPARENT, PARENT.parse().unwrap());
    assert_eq!(
        known(&headers),
        Some(TraceId(*b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"))
    );
}
