//! One plain request.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The longest that an answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The body of an answer with status 200; an error with the rest.
pub fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    // Version 1.0 has neither chunks nor connections that stay.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let invalid = || Error::new(ErrorKind::InvalidData, format!("{address}{path}: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(invalid)?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(invalid());
    }
    Ok(body.to_owned())
}
