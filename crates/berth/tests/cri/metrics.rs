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
    assert_eq!(value(r#"berth_image_pulls_total{result="ok"}"#), Some(1.0), "{samples:?}");
    assert_eq!(value("berth_image_pull_duration_seconds_count"), Some(1.0), "{samples:?}");
    assert!(value("berth_image_pull_bytes_total").unwrap() > 1e5, "{samples:?}");
    assert_eq!(value("berth_shims_lost_total"), Some(0.0));
    assert!(!samples.keys().any(|series| series.starts_with("berth_trace_spans_total")), "{samples:?}");

    assert!(asked(&address, "GET /").starts_with("HTTP/1.1 404 "));
    assert!(asked(&address, "POST /metrics").starts_with("HTTP/1.1 405 "));
    world.home.berth(&["pull", "-q", "docker.io/library/nosuch:latest"]);
    let (ending, ended) = world.started(&world.config("ending"), "exit 3");
    world.ended(&ended);
    let shim = i32::try_from(world.cri.shim_pid(&ending)).unwrap();
    let shim = rustix::process::Pid::from_raw(shim);
    rustix::process::kill_process(shim.unwrap(), rustix::process::Signal::KILL).unwrap();
    let counted = |series: &str| scraped(&address).get(series).copied() == Some(1.0);
    assert!(
        berth_testkit::wait_until(LIMIT, || counted("berth_shims_lost_total")),
        "{}",
        world.home.daemon.log()
    );
    // Behind the mirror the host itself is asked, which cannot be reached from everywhere.
    let failed = ["not_found", "unavailable", "denied"];
    let failed = failed.map(|kind| format!("berth_image_pulls_total{{result=\"{kind}\"}}"));
    assert!(failed.iter().any(|series| counted(series)), "{:?}", scraped(&address));
    assert!(counted(r#"berth_container_exits_total{reason="Error"}"#), "{:?}", scraped(&address));
    world.cri.remove_pod(&ending).unwrap();
    world.cri.remove_pod(&pod).unwrap();
    assert!(!scraped(&address).keys().any(|series| series.starts_with("berth_pods{")));
    world.home.clean();
}
