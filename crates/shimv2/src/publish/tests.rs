use super::*;

fn parse(line: &str) -> Result<Publication, PublishError> {
    Publication::parse(line.split_whitespace().map(OsString::from))
}

#[test]
fn containerds_command_lines_are_read() {
    let expected =
        Publication { address: "/a.sock".into(), topic: "/tasks/exit".into(), namespace: "k8s.io".into() };
    for line in [
        "--address /a.sock publish --topic /tasks/exit --namespace k8s.io",
        "-address /a.sock publish -topic /tasks/exit -namespace k8s.io",
        "--address=/a.sock publish --topic=/tasks/exit --namespace=k8s.io",
    ] {
        assert_eq!(parse(line).unwrap(), expected, "{line}");
    }
}

#[test]
fn what_is_missing_or_unknown_is_said() {
    for (line, says) in [
        ("", "are needed"),
        ("publish --topic /t --namespace n", "are needed"),
        ("--address /a --topic /t --namespace n", "are needed"),
        ("--address /a publish --topic /t --namespace", "are needed"),
        ("--address /a publish --other x", "\"--other\" is not known"),
        ("serve", "\"serve\" is not known"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(says), "{line}: {error}");
    }
}
