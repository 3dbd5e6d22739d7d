use super::*;

fn of(endpoint: &str, protocol: Option<TraceProtocol>) -> String {
    match Trace::of(Some(endpoint.to_owned()), protocol, None, Vec::new(), None) {
        Ok(trace) => trace.map(|trace| format!("{:?} {}", trace.protocol, trace.endpoint)).unwrap(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_port_says_how_a_collector_is_told_unless_somebody_else_does() {
    let call = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let (grpc, http) = (Some(TraceProtocol::Grpc), Some(TraceProtocol::Http));
    assert_eq!(of("http://127.0.0.1:4317", None), format!("Grpc http://127.0.0.1:4317{call}"));
    assert_eq!(of("http://127.0.0.1:4318", None), "Http http://127.0.0.1:4318/v1/traces");
    assert_eq!(of("https://c.example", None), "Http https://c.example/v1/traces");
    assert_eq!(of("https://c.example/", grpc), format!("Grpc https://c.example{call}"));
    assert_eq!(of("http://[::1]:4317", http), "Http http://[::1]:4317/v1/traces");
}

#[test]
fn a_path_is_what_the_collectors_own_is_below() {
    assert_eq!(of("https://c.example/otlp", None), "Http https://c.example/otlp/v1/traces");
    assert_eq!(of("https://c.example/otlp/v1/traces", None), "Http https://c.example/otlp/v1/traces");
}

#[test]
fn what_is_no_collector_is_refused() {
    for wrong in ["", "localhost:4317", "127.0.0.1", "unix:///c.sock", "ftp://c", "http://c/?q", "/c"] {
        assert!(of(wrong, None).starts_with("--trace-endpoint"), "{wrong}: {}", of(wrong, None));
    }
    let with = |ca: Option<&str>, header: &str, ratio: &str| {
        let headers = vec![header.to_owned()];
        Trace::of(None, None, ca.map(PathBuf::from), headers, Some(ratio.to_owned()))
            .map_err(|e| e.to_string())
    };
    assert_eq!(with(Some("/ca.pem"), "a=b", "0.5"), Ok(None));
    assert!(with(Some("ca.pem"), "a=b", "1").unwrap_err().starts_with("--trace-ca"));
    assert!(with(None, "secret", "1").unwrap_err().starts_with("--trace-header"));
    assert!(!with(None, "secret", "1").unwrap_err().contains("secret"));
    for wrong in ["2", "-1", "NaN", "x", ""] {
        assert!(with(None, "a=b", wrong).unwrap_err().starts_with("--trace-sampling-ratio"), "{wrong}");
    }
}

#[test]
fn a_header_is_decoded() {
    let headers = vec!["authorization=Basic%20YTpi=".to_owned(), " x-tenant = a ".to_owned()];
    let trace = Trace::of(Some("http://c:4317".to_owned()), None, None, headers, None).unwrap().unwrap();
    let pairs: Vec<_> = trace.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("authorization", "Basic YTpi="), ("x-tenant", "a")]);
}
