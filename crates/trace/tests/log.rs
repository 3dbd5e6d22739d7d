//! What the log says of a collector. A program of its own: another test in it would decide which lines there are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_testkit::collector::{Answer, Collector};
use berth_testkit::wait_until;
use berth_trace::{Counts, Exporter, Protocol, Settings};
use berth_types::trace::{Sink as _, Span, SpanId, TraceId};

/// The longest that something may take that happens at once on a machine that has time.
const SOON: Duration = Duration::from_secs(30);

fn span(number: u64) -> Span {
    let now = SystemTime::now();
    Span {
        trace: TraceId([1; 16]),
        id: SpanId(number.to_be_bytes()),
        parent: None,
        is_call: true,
        name: format!("span {number}"),
        began: now,
        ended: now,
        attributes: Vec::new(),
        failed: None,
    }
}

fn settings(collector: &Collector) -> Settings {
    let path = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
    Settings {
        endpoint: format!("http://{}/{path}", collector.address()).parse().unwrap(),
        protocol: Protocol::Grpc,
        authorities: None,
        headers: Vec::new(),
        resource: Vec::new(),
    }
}

async fn until(mut condition: impl FnMut() -> bool + Send + 'static) -> bool {
    tokio::task::spawn_blocking(move || wait_until(SOON, &mut condition)).await.unwrap()
}

#[derive(Debug, Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn trouble_is_told_once_and_its_end_too() {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(lines);
    let collector = Collector::grpc().unwrap();
    let (exporter, task) = Exporter::start(&settings(&collector)).unwrap();
    let counted = async |counts: Counts| {
        let looked = Arc::clone(&exporter);
        assert!(until(move || looked.counts() == counts).await, "{:?}", exporter.counts());
    };
    collector.answers(Answer::Refuses);
    exporter.ended(span(1));
    counted(Counts { refused: 1, ..Counts::default() }).await;
    exporter.ended(span(2));
    counted(Counts { refused: 2, ..Counts::default() }).await;
    collector.answers(Answer::Rejects(1));
    exporter.ended(span(3));
    exporter.ended(span(4));
    counted(Counts { sent: 1, refused: 3, overflowed: 0 }).await;
    collector.answers(Answer::Takes);
    exporter.ended(span(5));
    counted(Counts { sent: 2, refused: 3, overflowed: 0 }).await;
    exporter.end();
    task.await.unwrap();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let told: Vec<_> = text.lines().filter(|line| line.contains("berth_trace")).collect();
    let [trouble, again] = told.as_slice() else { panic!("{text}") };
    assert!(trouble.contains("does not take traces") && trouble.contains("code 8: it is full"), "{trouble}");
    assert!(again.contains("takes traces again lost=3"), "{again}");
}
