//! `berth info`.

use std::process::ExitCode;

use serde_json::json;

use crate::api;
use crate::client::{Reach, told};
use crate::output::{Format, line, table};

/// `berth info`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Handlers are checked with a container of their own; one that cannot be used says why."
)]
pub(crate) struct Info {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Info {
    /// Shows it.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let daemon = client.info(api::InfoRequest {}).await.map_err(told)?.into_inner();
        let handlers = client.handlers(api::HandlersRequest {}).await.map_err(told)?.into_inner().handlers;
        let object = json!({
            "version": daemon.version, "pid": daemon.pid, "instance": daemon.instance,
            "root": daemon.root, "state": daemon.state,
            "cgroupRoot": daemon.cgroup_root, "cgroupDriver": daemon.cgroup_driver,
            "handlers": handlers.iter().map(as_json).collect::<Vec<_>>(),
        });
        if !self.output.shows(&object, None)? {
            line(format_args!("daemon {}, pid {}", daemon.version, daemon.pid))?;
            line(format_args!("root {}, state {}", daemon.root, daemon.state))?;
            line(format_args!("cgroups {} in {}", daemon.cgroup_driver, daemon.cgroup_root))?;
            line("")?;
            let rows: Vec<_> = handlers.iter().map(row).collect();
            self.output.table(&["HANDLER", "STATE", "PROGRAM", "FEATURES", "NOTE"], &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn as_json(of: &api::Handler) -> serde_json::Value {
    json!({
        "name": of.name, "kind": of.kind, "default": of.is_default, "state": of.state, "reason": of.reason,
        "program": of.program, "version": of.version,
        "features": {
            "recursiveReadOnlyMounts": of.recursive_read_only, "userNamespaces": of.user_namespaces,
            "checkpoint": of.checkpoint,
        },
    })
}

/// The note is the version, or why there is none.
fn row(of: &api::Handler) -> Vec<String> {
    let name = if of.is_default { format!("{} (default)", of.name) } else { of.name.clone() };
    let all =
        [("rro", of.recursive_read_only), ("userns", of.user_namespaces), ("checkpoint", of.checkpoint)];
    let features: Vec<&str> = all.iter().filter(|(_, has)| *has).map(|(word, _)| *word).collect();
    let or = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let note = if of.reason.is_empty() { &of.version } else { &of.reason };
    vec![name, of.state.clone(), or(&of.program), or(&features.join(",")), table::cut(note, 500)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_it_can_or_why_it_cannot() {
        let native = api::Handler {
            name: "native".into(),
            state: "ready".into(),
            is_default: true,
            recursive_read_only: true,
            user_namespaces: true,
            ..api::Handler::default()
        };
        assert_eq!(row(&native), ["native (default)", "ready", "-", "rro,userns", ""]);
        let broken = api::Handler {
            name: "runc".into(),
            state: "unusable".into(),
            program: "/usr/bin/runc".into(),
            reason: "it \x1b broke".into(),
            ..api::Handler::default()
        };
        assert_eq!(row(&broken), ["runc", "unusable", "/usr/bin/runc", "-", "it ? broke"]);
    }
}
