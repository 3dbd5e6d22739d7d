//! The outcome, as clients read it from the error stream: a Status of the Kubernetes API from v4 on, text before.

use serde::Serialize;

use super::Version;
use crate::session::Outlet;
use crate::wire::Packet;

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ended well.
    Success,
    /// The command ended with this status.
    Exit(i32),
    /// It could not be done.
    Failed(String),
}

#[derive(Serialize)]
struct Status<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Serialize)]
struct Details {
    causes: [Cause; 1],
}

#[derive(Serialize)]
struct Cause {
    reason: &'static str,
    message: String,
}

impl Outcome {
    pub(crate) fn failed(why: &dyn std::fmt::Display) -> Self {
        Outcome::Failed(why.to_string())
    }

    /// The end of a command.
    pub(crate) fn of_code(code: i32) -> Self {
        if code == 0 { Outcome::Success } else { Outcome::Exit(code) }
    }

    fn message(&self) -> Option<String> {
        match self {
            Outcome::Success => None,
            Outcome::Exit(code) => {
                Some(format!("command terminated with non-zero exit code: exit status {code}"))
            }
            Outcome::Failed(why) => Some(why.clone()),
        }
    }

    /// What is sent for it; nothing says that it ended well, before v4.
    pub(crate) fn text(&self, version: Version) -> Option<String> {
        let message = self.message();
        if version < Version::V4 {
            return message;
        }
        let status = match self {
            Outcome::Success => {
                Status { status: "Success", message, reason: None, details: None, code: None }
            }
            Outcome::Exit(code) => {
                let causes = [Cause { reason: "ExitCode", message: code.to_string() }];
                let (reason, details) = (Some("NonZeroExitCode"), Some(Details { causes }));
                Status { status: "Failure", message, reason, details, code: None }
            }
            Outcome::Failed(_) => {
                let (reason, code) = (Some("InternalError"), Some(500));
                Status { status: "Failure", message, reason, details: None, code }
            }
        };
        serde_json::to_string(&status).ok()
    }

    /// Sends it. A client that cannot be told is gone.
    pub(crate) async fn tell(&self, version: Version, error: &Outlet) {
        if let Some(text) = self.text(version) {
            error.send(&mut Packet::of(text.as_bytes())).await.ok();
        }
        error.finish().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_text_before_v4_and_a_status_then() {
        let exit = Outcome::of_code(42);
        let said = "command terminated with non-zero exit code: exit status 42";
        assert_eq!(exit.text(Version::V3).as_deref(), Some(said));
        assert_eq!(
            exit.text(Version::V4).unwrap(),
            format!(
                r#"{{"status":"Failure","message":"{said}","reason":"NonZeroExitCode","details":{{"causes":[{{"reason":"ExitCode","message":"42"}}]}}}}"#
            )
        );
        assert_eq!(Outcome::of_code(0).text(Version::V2), None);
        assert_eq!(Outcome::Success.text(Version::V5).as_deref(), Some(r#"{"status":"Success"}"#));
        let failed = Outcome::failed(&"no \"x\"").text(Version::V4).unwrap();
        assert_eq!(
            failed,
            r#"{"status":"Failure","message":"no \"x\"","reason":"InternalError","code":500}"#
        );
    }
}
