use proptest::prelude::*;

use super::*;

fn at(path: &str) -> Address {
    Address::Path(PathBuf::from(path))
}

#[test]
fn the_three_forms_are_read() {
    let path = "/run/containerd/s/5c0fab";
    let v2 = Started { address: at(path), version: Version::V2 };
    let v3 = Started { address: at(path), version: Version::V3 };
    let outcome = |version| Outcome {
        version,
        address: format!("unix://{path}"),
        protocol: "ttrpc".into(),
        ..Outcome::default()
    };
    for (answer, expected) in [
        (format!("unix://{path}").into_bytes(), &v2),
        (format!("unix://{path}\n").into_bytes(), &v2),
        (format!(r#"{{"version":2,"address":"unix://{path}","protocol":"ttrpc"}}"#).into_bytes(), &v2),
        (
            format!(
                "{{\"version\":3,\n\"address\":\"unix://{path}\",\"protocol\":\"TTRPC\",\"later\":[1]}}\n"
            )
            .into_bytes(),
            &v3,
        ),
        (outcome(2).encode_to_vec(), &v2),
        (outcome(3).encode_to_vec(), &v3),
    ] {
        assert_eq!(parse(&answer).as_ref(), Ok(expected), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn an_address_without_a_scheme_is_abstract() {
    let started = parse(b"/containerd-shim/k8s.io/a/shim.sock").unwrap();
    assert_eq!(started.address, Address::Abstract(b"/containerd-shim/k8s.io/a/shim.sock".to_vec()));
}

#[test]
fn what_is_not_supported_is_said_in_a_sentence() {
    let long = format!("unix:///{}", "a".repeat(MAX_SOCKET));
    for (answer, says) in [
        ("", "printed no address"),
        (" \n", "printed no address"),
        ("panic: no such file", r#"no address but "panic: no such file""#),
        ("{\"version\":3", "no address but"),
        ("{\"version\":\"3\",\"address\":\"unix:///a\",\"protocol\":\"ttrpc\"}", "no address but"),
        ("{\"address\":\"unix:///a\",\"protocol\":\"ttrpc\"}", "no address but"),
        ("{\"version\":4,\"address\":\"unix:///a\",\"protocol\":\"ttrpc\"}", "version 4 of the Task service"),
        ("{\"version\":1,\"address\":\"unix:///a\",\"protocol\":\"ttrpc\"}", "version 1 of the Task service"),
        ("{\"version\":3,\"address\":\"unix:///a\",\"protocol\":\"grpc\"}", "speaks \"grpc\""),
        ("{\"version\":3,\"address\":\"vsock://3:1024\",\"protocol\":\"ttrpc\"}", "only unix sockets"),
        ("unix://a", "begin at the root"),
        ("unix://", "no socket can have"),
        (long.as_str(), "at most 107 bytes"),
    ] {
        let error = parse(answer.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{answer:?}: {error}");
    }
    let error = parse(&[0xff, 0, 1, 2]).unwrap_err();
    assert!(matches!(error, AnswerError::Garbage(_)), "{error}");
    assert_eq!(parse(&[8, 3]), Err(AnswerError::Protocol(String::new())));
}

#[test]
fn garbage_is_shown_only_in_part() {
    let error = parse("x y ".repeat(10_000).as_bytes()).unwrap_err().to_string();
    assert!(error.len() < 300, "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Started { address: Address::Path(path), .. }) = parse(&bytes) {
            prop_assert!(path.is_absolute());
        }
    }
}
