//! Signatures from a lookaside directory over HTTP.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use berth_testkit::guard::has_program;
use berth_testkit::require;

use crate::common::root;
use crate::trust::Trust;

/// A server of the files of a directory, for as many requests as it gets; gives its port and the paths asked for.
fn serve(dir: PathBuf) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(request) = lines.next() else { continue };
            let path = request.split(' ').nth(1).unwrap().to_owned();
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let file = std::fs::read(dir.join(path.trim_start_matches('/')));
            seen.lock().unwrap().push(path.clone());
            let (status, body) = match file {
                _ if path.contains("broken") => ("500 Broken", Vec::new()),
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            drop(stream.write_all(&[head.as_bytes(), &body].concat()));
        }
    });
    (port, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_come_by_http_up_to_the_first_that_is_not_there() {
    if !root("signatures_come_by_http_up_to_the_first_that_is_not_there") {
        return;
    }
    require!(has_program("skopeo") && has_program("gpg"), "needs the packages skopeo and gpg");
    let trust = Trust::new().await;
    trust.gpg_key("good");
    let (port, asked) = serve(trust.path("lookaside"));
    let host = trust.scene.registry.host();
    let point = |path: &str| {
        let text = format!("docker:\n  {host}:\n    lookaside: http://127.0.0.1:{port}{path}\n");
        trust.write("registries.d/a.yaml", &text);
    };
    point("/");
    trust.policy(&trust.signed_by("good", ""));
    let digest = trust.push("a/b", "x").digest.to_string();
    assert!(trust.both("a/b:1").await.unwrap_err().contains("it has no signature"));
    trust.sign("good", "a/b", 1, &trust.name("a/b:1"), &digest);
    asked.lock().unwrap().clear();
    trust.pull("a/b:1").await.unwrap();
    let at = format!("/a/b@{}", digest.replace(':', "="));
    assert_eq!(*asked.lock().unwrap(), [format!("{at}/signature-1"), format!("{at}/signature-2")]);
    trust.both("a/b:1").await.unwrap();
    // One that is too large, and a server that answers something else: both are not "none".
    let large = trust.path("lookaside").join(&at[1..]).join("signature-2");
    std::fs::write(&large, vec![0x90; (1 << 20) + 1]).unwrap();
    assert!(trust.pull("a/b:1").await.unwrap_err().contains("larger than 1048576 bytes"));
    point("/broken");
    assert!(trust.pull("a/b:1").await.unwrap_err().contains("answered 500"));
}
