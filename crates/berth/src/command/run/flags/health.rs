//! `--health-*`: what docker calls a health check changes what is shown alone, as a readiness probe does.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Run;

impl Run {
    /// The readiness probe that the flags mean.
    pub(super) fn health(&self) -> anyhow::Result<Option<Value>> {
        let period = seconds(self.health_interval.as_deref(), "--health-interval", 30)?;
        let timeout = seconds(self.health_timeout.as_deref(), "--health-timeout", 30)?;
        // Until its first success a container is not shown as one that can serve: there is nothing to wait for.
        seconds(self.health_start_period.as_deref(), "--health-start-period", 1)?;
        let retries = self.health_retries.filter(|retries| *retries > 0).unwrap_or(3);
        let Some(command) = self.health_cmd.as_deref().filter(|command| *command != "none") else {
            let others = [&self.health_interval, &self.health_timeout, &self.health_start_period];
            if self.health_retries.is_some() || others.iter().any(|given| given.is_some()) {
                bail!(
                    "--health-interval, -timeout, -retries and -start-period need --health-cmd: checks of images are not made"
                );
            }
            return Ok(None);
        };
        Ok(Some(json!({
            "exec": { "command": ["/bin/sh", "-c", command] },
            "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": retries,
        })))
    }
}

/// Whole seconds of a duration, 1 at least.
fn seconds(text: Option<&str>, flag: &str, default: i64) -> anyhow::Result<i64> {
    let Some(text) = text.filter(|text| *text != "0s" && *text != "0") else { return Ok(default) };
    let wrong =
        || format!("invalid {flag} {text:?}: expected a time such as 30s or 1m30s, of a second at least");
    let time: jiff::SignedDuration = text.parse().ok().with_context(wrong)?;
    let seconds = time.as_secs();
    if seconds < 1 { bail!(wrong()) } else { Ok(seconds) }
}
