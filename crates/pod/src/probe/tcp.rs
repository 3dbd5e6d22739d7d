//! A connection to a port.

use std::time::Duration;

use tokio::net::TcpStream;

use super::check::Answer;

/// Connects, and no more.
pub(super) async fn ask(host: &str, port: u16, timeout: Duration) -> Answer {
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Answer::success(""),
        Ok(Err(e)) => Answer::failure(format!("connect to port {port} of {host}: {e}")),
        Err(_) => Answer::late(timeout),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::state::Outcome;
    use super::*;

    #[tokio::test]
    async fn a_port_that_listens_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let second = Duration::from_secs(1);
        assert_eq!(ask("127.0.0.1", port, second).await.outcome, Outcome::Success);
        drop(listener);
        let answer = ask("127.0.0.1", port, second).await;
        assert_eq!(answer.outcome, Outcome::Failure);
        assert!(answer.message.contains(&format!("port {port} of 127.0.0.1")), "{answer:?}");
    }
}
