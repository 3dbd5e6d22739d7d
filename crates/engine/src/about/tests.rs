use std::sync::Mutex;
use std::time::Duration;

use super::*;

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Kept(Mutex<(u64, Vec<Span>)>);

impl Sink for Kept {
    fn id(&self) -> SpanId {
        let mut kept = self.0.lock().unwrap();
        kept.0 += 1;
        SpanId(kept.0.to_be_bytes())
    }

    fn ended(&self, span: Span) {
        self.0.lock().unwrap().1.push(span);
    }
}

fn told() -> (Arc<Kept>, Call) {
    let kept = Arc::new(Kept::default());
    let call = Call::told(Arc::clone(&kept) as Arc<dyn Sink>, TraceId([7; 16]), Some(SpanId([9; 8])));
    (kept, call)
}

#[tokio::test]
async fn a_step_is_part_of_its_call_or_of_its_step() {
    let (kept, call) = told();
    let since = Instant::now();
    let outer = call.step(None, "outer", (since, since + Duration::from_millis(5)));
    call.step(outer, "inner", (since, since + Duration::from_millis(2)));
    call.answered("Version", vec![("rpc.system", "grpc".to_owned())], Some("NOT_FOUND".to_owned()));
    let spans = std::mem::take(&mut kept.0.lock().unwrap().1);
    let seen: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.parent, span.is_call)).collect();
    let number = |n: u64| Some(SpanId(n.to_be_bytes()));
    assert_eq!(
        seen,
        [("outer", number(1), false), ("inner", number(2), false), ("Version", Some(SpanId([9; 8])), true)]
    );
    assert!(spans.iter().all(|span| span.trace == TraceId([7; 16]) && span.ended >= span.began));
    assert_eq!(spans[0].ended.duration_since(spans[0].began).unwrap(), Duration::from_millis(5));
    assert_eq!(spans[2].failed.as_deref(), Some("NOT_FOUND"));
}

#[tokio::test]
async fn the_number_of_steps_is_bounded() {
    let (kept, call) = told();
    let now = Instant::now();
    let told = (0..2 * STEPS).filter(|_| call.step(None, "again", (now, now)).is_some()).count();
    assert_eq!(told, STEPS as usize);
    assert_eq!(kept.0.lock().unwrap().1.len(), STEPS as usize);
}

#[tokio::test]
async fn work_is_about_what_it_was_begun_for() {
    assert!(About::now().trace().is_none());
    let container = ContainerId::from_random([3; 32]);
    let (_, call) = told();
    call.around(async {
        assert_eq!(About::now().trace(), Some(TraceId([7; 16])));
        let about = About::now().of_container(&container);
        let seen = tokio::spawn(about.around(async { About::now().container().cloned() })).await.unwrap();
        assert_eq!(seen.as_ref(), Some(&container));
        // What the call turned out to concern is known to the one that made it.
        assert_eq!(About::now().container(), Some(&container));
        assert!(About::now().sandbox().is_none());
    })
    .await;
    assert!(About::now().container().is_none());
}

#[test]
fn of_a_call_that_is_not_told_the_trace_alone_is_known() {
    let parent = Context::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    let call = Call::untold(parent);
    assert!(!call.is_told());
    let now = Instant::now();
    assert_eq!(call.step(None, "x", (now, now)), None);
    let about = About::default().asked_by(Some(call));
    assert_eq!(about.trace().unwrap().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert!(Call::untold(None).inner.trace.is_none());
}
