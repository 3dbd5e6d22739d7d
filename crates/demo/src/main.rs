//! The program in Berth's built-in demo image: a tiny web server, static and alone.
//!
//! It answers every request with a page that shows what a container sees of itself: its host
//! name, its address, its process id. It needs nothing of its image but itself.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// The most bytes of a request's head; more is no browser.
const MAX_HEAD: u64 = 16 << 10;

fn main() -> ExitCode {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8080".to_owned());
    let listener = match port.parse().map_err(|_| format!("{port:?} is not a port")).and_then(|port: u16| {
        TcpListener::bind(("::", port))
            .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
            .map_err(|e| format!("listen on port {port}: {e}"))
    }) {
        Ok(listener) => listener,
        Err(message) => {
            say(&message);
            return ExitCode::FAILURE;
        }
    };
    say(&format!("berth-demo: {} serves port {port}", host_name()));
    for connection in listener.incoming() {
        match connection {
            Ok(stream) => serve(stream),
            Err(e) => say(&format!("accept: {e}")),
        }
    }
    ExitCode::SUCCESS
}

/// Standard output is the container's log. When it is closed, nothing can be reported.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

fn serve(stream: TcpStream) {
    let peer = stream.peer_addr().map_or_else(|_| "?".to_owned(), |peer| peer.to_string());
    match answer(stream) {
        Ok(request) => say(&format!("{peer} {request}")),
        Err(e) => say(&format!("{peer} failed: {e}")),
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<String> {
    // One client that is silent must not keep others out for long.
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(stream.try_clone()?.take(MAX_HEAD));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let page = page(&stream);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    )?;
    Ok(request.trim().chars().filter(|c| !c.is_control()).take(200).collect())
}

fn page(stream: &TcpStream) -> String {
    let address = stream.local_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string());
    format!(
        "Hello from a pod.\n\n  host name  {}\n  address    {address}\n  process    {}\n",
        host_name(),
        std::process::id()
    )
}
