//! `berth kube`: pods as manifests, by podman's words.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use berth_pod::plan::MANIFEST;
use clap::Subcommand;
use serde_json::Value;

use super::archive::Out;
use super::play::{Down, Play};
use crate::api;
use crate::client::{Client, Reach, told};
use crate::output::note;

/// `berth kube`
#[derive(Debug, clap::Args)]
pub(crate) struct Kube {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the manifest of pods that there are
    Generate(Generate),
    /// Run the pods of a manifest, as berth play
    #[command(visible_alias = "apply")]
    Play(Play),
    /// Stop and remove pods, as berth down
    Down(Down),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "berth play runs them again, on this machine or another. What docker's flags said and no field of a manifest can is in the annotation berth.dev/run, which a kubelet does not read.\n\nExamples:\n  berth kube generate web > web.yaml\n  berth kube generate -f all.yaml web db"
)]
struct Generate {
    /// Write it into a file; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    filename: PathBuf,
    /// Pods or containers, by name or id
    #[arg(required = true, value_name = "POD")]
    targets: Vec<String>,
}

impl Kube {
    /// Does what the word after it says.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Generate(generate) => generate.run(reach).await,
            Command::Play(play) => play.run(reach).await,
            Command::Down(down) => down.run(reach).await,
        }
    }
}

impl Generate {
    async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let (mut texts, mut seen) = (Vec::new(), BTreeSet::new());
        for target in &self.targets {
            let pod = pod(&mut client, target).await?;
            // Several of its containers may have been named.
            if seen.insert(pod["id"].to_string()) {
                texts.push(manifest(&pod, target)?);
            }
        }
        let text = texts.join("---\n");
        if self.filename.as_os_str() == "-" {
            return crate::output::line(text.trim_end()).map(|()| ExitCode::SUCCESS);
        }
        let mut out = Out::open(&self.filename)?;
        out.write(text.as_bytes())?;
        out.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn inspected(client: &mut Client, target: &str) -> anyhow::Result<Value> {
    let request = api::InspectRequest { target: target.to_owned(), object: false };
    let json = client.inspect(request).await.map_err(told)?.into_inner().json;
    Ok(serde_json::from_str(&json)?)
}

/// The pod that was named, or that of the container that was.
async fn pod(client: &mut Client, target: &str) -> anyhow::Result<Value> {
    let found = inspected(client, target).await?;
    match found["kind"].as_str() {
        Some("Pod") => Ok(found),
        Some("Container") => inspected(client, found["pod"].as_str().unwrap_or_default()).await,
        _ => bail!("{target} is not a pod"),
    }
}

/// Leaves out lists and objects with nothing in them, which say nothing; but for a volume's source.
fn without_nothing(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|key, value| {
            without_nothing(value);
            let is_nothing = match value {
                Value::Object(fields) => fields.is_empty() && key != "emptyDir",
                Value::Array(items) => items.is_empty(),
                other => other.is_null(),
            };
            !is_nothing
        }),
        Value::Array(items) => items.iter_mut().for_each(without_nothing),
        _ => {}
    }
}

/// The manifest that a pod was made of, with its kind, as YAML.
fn manifest(pod: &Value, target: &str) -> anyhow::Result<String> {
    let config = &pod["config"];
    if config["owner"] != "local" {
        bail!(
            "{target} belongs to a kubelet, whose API server has its manifest (hint: kubectl get pod -o yaml)"
        );
    }
    let source = config["annotations"][MANIFEST].as_str();
    let source = source.with_context(|| format!("pod {target} has no manifest"))?;
    let mut document: Value =
        serde_json::from_str(source).with_context(|| format!("read the manifest of pod {target}"))?;
    let fields = document.as_object_mut().with_context(|| format!("pod {target} has no manifest"))?;
    // First, where everybody looks for them.
    let mut ordered = serde_json::Map::new();
    for (key, standard) in [("apiVersion", "v1"), ("kind", "Pod")] {
        let value = fields.remove(key).unwrap_or_else(|| Value::from(standard));
        ordered.insert(key.to_owned(), value);
    }
    ordered.append(fields);
    let mut document = Value::Object(ordered);
    without_nothing(&mut document);
    let text = document.to_string();
    if ["configMap", "secret"].iter().any(|word| text.contains(word)) {
        note(format_args!(
            "berth: pod {target} may use ConfigMaps or Secrets, which are not written (hint: play them with it from their own file)"
        ));
    }
    Ok(serde_saphyr::to_string(&document)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_says_nothing_is_left_out() {
        let mut value = json!({
            "a": [], "b": {"c": {}}, "d": null, "e": false, "f": "", "volumes": [{"name": "v", "emptyDir": {}}], "g": [{"h": []}],
        });
        without_nothing(&mut value);
        let wanted = json!({ "e": false, "f": "", "volumes": [{"name": "v", "emptyDir": {}}], "g": [{}] });
        assert_eq!(value, wanted);
    }
}
