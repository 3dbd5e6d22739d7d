//! What a scraper gets of a daemon.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use berth_testkit::guard::wait_for;
use berth_testkit::{prometheus, require_root};

use crate::cri::Cri;
use crate::home::{BUSYBOX, Home, LIMIT, program};
use crate::world::{WAITS, World};

fn asked(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
        .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn scraped(address: &str) -> prometheus::Samples {
    let answer = asked(address, "GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    prometheus::parse(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

#[test]
fn calls_pods_and_memory_are_counted() {
    require_root!();
    let home = Home::start_with(program(), &["--metrics-address", "127.0.0.1:0"]);
    let log = wait_for(LIMIT, || {
        let log = home.daemon.log();
        let (_, rest) = log.split_once("metrics address=")?;
        rest.split(['\n', ' ']).next().map(|address| address.trim_matches('"').to_owned())
    });
    let address = log.unwrap_or_else(|| panic!("no address: {}", home.daemon.log()));
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let cri = Cri::connect(&home.daemon.socket()).unwrap();
    let world = World { home, cri };
    let config = world.config("counted");
    let (pod, _) = world.started(&config, WAITS);
    world.cri.status("nosuch").unwrap_err();

    let samples = scraped(&address);
    let value = |series: &str| samples.get(series).copied();
    assert_eq!(value(r#"berth_cri_calls_total{method="RunPodSandbox",code="OK"}"#), Some(1.0), "{samples:?}");
    assert_eq!(value(r#"berth_cri_calls_total{method="ContainerStatus",code="NOT_FOUND"}"#), Some(1.0));
    assert_eq!(value(r#"berth_cri_call_duration_seconds_count{method="StartContainer"}"#), Some(1.0));
    assert_eq!(value(r#"berth_pods{state="ready",handler="native"}"#), Some(1.0), "{samples:?}");
    assert_eq!(value(r#"berth_containers{state="running",handler="native"}"#), Some(1.0), "{samples:?}");
    assert_eq!(value("berth_cri_calls_pending"), Some(0.0));
    assert!(value("process_resident_memory_bytes").unwrap() > 1e6, "{samples:?}");

    assert!(asked(&address, "GET /").starts_with("HTTP/1.1 404 "));
    assert!(asked(&address, "POST /metrics").starts_with("HTTP/1.1 405 "));
    world.cri.remove_pod(&pod).unwrap();
    assert!(!scraped(&address).keys().any(|series| series.starts_with("berth_pods{")));
    world.home.clean();
}
