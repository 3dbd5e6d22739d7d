//! What is sent is read by the types that OpenTelemetry's own crate has of the protocol.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use trace::{SpanId, TraceId};

use super::*;

fn given() -> trace::Span {
    let began = UNIX_EPOCH + Duration::new(1_764_460_800, 123_456_789);
    trace::Span {
        trace: TraceId([1; 16]),
        id: SpanId([2; 8]),
        parent: Some(SpanId([3; 8])),
        is_call: true,
        name: "runtime.v1.RuntimeService/RunPodSandbox".to_owned(),
        began,
        ended: began + Duration::from_millis(7),
        attributes: vec![("k8s.pod.name", "web".to_owned())],
        failed: Some("NOT_FOUND".to_owned()),
    }
}

#[test]
fn opentelemetry_reads_what_is_sent() {
    let inner = trace::Span { is_call: false, parent: None, failed: None, ..given() };
    let resource = [("service.name".to_owned(), "berth".to_owned())];
    let bytes = request(&resource, vec![given(), inner]).encode_to_vec();
    let read = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();

    let [all] = read.resource_spans.as_slice() else { panic!("{read:?}") };
    let of = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        let text = |value: Option<Value>| match value {
            Some(Value::StringValue(text)) => text,
            other => panic!("{other:?}"),
        };
        let one = |one: &opentelemetry_proto::tonic::common::v1::KeyValue| {
            (one.key.clone(), text(one.value.clone().and_then(|value| value.value)))
        };
        attributes.iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(of(&all.resource.as_ref().unwrap().attributes), resource);
    let [scoped] = all.scope_spans.as_slice() else { panic!("{all:?}") };
    let scope = scoped.scope.as_ref().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("berth", env!("CARGO_PKG_VERSION")));
    let [call, step] = scoped.spans.as_slice() else { panic!("{scoped:?}") };
    assert_eq!(call.trace_id, [1; 16]);
    assert_eq!((call.span_id.as_slice(), call.parent_span_id.as_slice()), (&[2; 8][..], &[3; 8][..]));
    assert_eq!(call.name, given().name);
    assert_eq!(call.kind(), SpanKind::Server);
    assert_eq!(call.start_time_unix_nano, 1_764_460_800_123_456_789);
    assert_eq!(call.end_time_unix_nano - call.start_time_unix_nano, 7_000_000);
    assert_eq!(of(&call.attributes), [("k8s.pod.name".to_owned(), "web".to_owned())]);
    let status = call.status.as_ref().unwrap();
    assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "NOT_FOUND"));
    assert_eq!((step.kind(), step.parent_span_id.len(), &step.status), (SpanKind::Internal, 0, &None));
}

#[test]
fn an_answer_of_opentelemetry_is_read() {
    let answer = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 3,
            error_message: "no".to_owned(),
        }),
    };
    let read = Response::decode(answer.encode_to_vec().as_slice()).unwrap().partial_success.unwrap();
    assert_eq!((read.rejected_spans, read.error_message.as_str()), (3, "no"));
    assert_eq!(Response::decode(&[][..]).unwrap().partial_success, None);
}
