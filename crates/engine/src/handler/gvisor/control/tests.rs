use std::os::unix::net::UnixListener;
use std::time::Duration;

use super::*;
use crate::host::random;

fn id() -> ContainerId {
    ContainerId::from_random(random::bytes())
}

/// A kernel that gives these answers in turn, by a socket in that directory, and tells what it was asked.
fn kernel(dir: &Path, pod: &SandboxId, answers: Vec<String>) -> std::thread::JoinHandle<Vec<String>> {
    // Beyond what fits into an address it is made by a shorter way, as gVisor does.
    let link = tempfile::tempdir().unwrap();
    let short = link.path().join("l");
    std::os::unix::fs::symlink(dir, &short).unwrap();
    let listener = UnixListener::bind(short.join(format!("runsc-{pod}.sock"))).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        for answer in answers {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).unwrap();
            asked.push(String::from_utf8(bytes[..read].to_vec()).unwrap());
            // In two parts, as a stream may.
            let (first, second) = answer.split_at(answer.len() / 2);
            stream.write_all(first.as_bytes()).unwrap();
            stream.write_all(second.as_bytes()).unwrap();
        }
        asked
    })
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn each_container_is_asked_for_and_one_that_has_ended_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("x".repeat(150));
    std::fs::create_dir(&deep).unwrap();
    for dir in [dir.path(), &deep] {
        let (pod, one, gone) = (SandboxId::from_random(random::bytes()), id(), id());
        let told = format!(
            r#"{{"success":true,"err":"","result":{{"event":{{"type":"stats","id":"{one}","data":{{"cpu":{{"usage":{{}}}},"memory":{{"usage":{{"limit":0,"usage":4096,"failcnt":0}}}},"pids":{{"current":2}}}}}},"containerUsage":{{"{one}":77,"other":1}}}}}}"#
        );
        let failed = r#"{"success":false,"err":"container is not started","result":null}"#.to_owned();
        let kernel = kernel(dir, &pod, vec![told, failed]);
        let shares = shares(dir, &pod, &[&one, &gone], soon()).unwrap();
        assert_eq!(shares.len(), 1);
        assert_eq!(shares[&one], Share { cpu_usage_ns: 77, memory: 4096 });
        let asked = kernel.join().unwrap();
        let call =
            |id: &ContainerId| serde_json::json!({ "method": "containerManager.Event", "arg": id.as_str() });
        let asked: Vec<serde_json::Value> =
            asked.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(asked, [call(&one), call(&gone)]);
    }
}

#[test]
fn what_is_no_answer_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for (answer, kind) in [
        ("", io::ErrorKind::UnexpectedEof),
        ("nonsense", io::ErrorKind::InvalidData),
        (r#"{"success":true,"result":{"event":{}}}"#, io::ErrorKind::InvalidData),
        (r#"{"success":true,"#, io::ErrorKind::UnexpectedEof),
    ] {
        let pod = SandboxId::from_random(random::bytes());
        let kernel = kernel(dir.path(), &pod, vec![answer.to_owned()]);
        let error = shares(dir.path(), &pod, &[&id()], soon()).unwrap_err();
        assert_eq!(error.kind(), kind, "{answer}: {error}");
        kernel.join().unwrap();
    }
    let pod = SandboxId::from_random(random::bytes());
    let error = shares(dir.path(), &pod, &[&id()], soon()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn one_that_holds_still_costs_the_time_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let pod = SandboxId::from_random(random::bytes());
    let _listener = UnixListener::bind(dir.path().join(format!("runsc-{pod}.sock"))).unwrap();
    let error = shares(dir.path(), &pod, &[&id()], Instant::now() + Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
    let error = shares(dir.path(), &pod, &[&id()], Instant::now()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
