use std::sync::{Arc, Mutex};

use berth_engine::Call;
use berth_types::trace::Context;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What is logged in a call with a trace, and then outside of it.
async fn logged(subscriber: impl Subscriber + Send + Sync + 'static, log: &Log) -> Vec<String> {
    let _guard = tracing::subscriber::set_default(subscriber);
    let call = Call::untold(Context::parse(&format!("00-{TRACE}-b7ad6b7169203331-00")));
    call.around(async { tracing::info!(code = "a \"b\"", "refused") }).await;
    tracing::info!("ready");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_line_of_text_has_the_ids_behind_it() {
    let log = Log::default();
    let lines = lines::layer().with_writer(log.clone()).with_ansi(false).event_format(Text::new());
    let said = logged(registry().with(lines), &log).await;
    let [refused, ready] = said.as_slice() else { panic!("{said:?}") };
    assert!(refused.ends_with(&format!("INFO refused code=\"a \\\"b\\\"\" trace_id={TRACE}")), "{refused}");
    assert!(ready.ends_with("INFO ready"), "{ready}");
}

#[tokio::test]
async fn an_object_has_the_ids_among_its_fields() {
    let log = Log::default();
    let lines = lines::layer().with_writer(log.clone()).json().event_format(Object::new());
    let said = logged(registry().with(lines), &log).await;
    let read: Vec<serde_json::Value> = said.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((read[0]["message"].as_str(), read[0]["code"].as_str()), (Some("refused"), Some("a \"b\"")));
    assert_eq!(read[0]["trace_id"].as_str(), Some(TRACE));
    assert_eq!((read[1]["message"].as_str(), read[1].get("trace_id")), (Some("ready"), None));
}
