//! The containers that a name means.

use anyhow::{Context as _, bail};

use crate::api;
use crate::client::{Client, told};

/// What a name means.
async fn inspected(client: &mut Client, name: &str) -> anyhow::Result<serde_json::Value> {
    let asked = api::InspectRequest { target: name.to_owned(), object: false };
    let answer = client.inspect(asked).await.map_err(told)?;
    Ok(serde_json::from_str(&answer.into_inner().json)?)
}

/// The container that a name means: the newest attempt.
pub(in crate::command) async fn find(client: &mut Client, name: &str) -> anyhow::Result<api::Container> {
    let found = inspected(client, name).await?;
    let id = match found["kind"].as_str() {
        Some("Container") => found["id"].as_str().map(str::to_owned),
        Some("Pod") => only(&found, name)?,
        _ => bail!("{name} is not a container"),
    };
    let id = id.with_context(|| format!("pod {name} has no container"))?;
    let pods = client.list(api::ListRequest {}).await.map_err(told)?.into_inner().pods;
    let container = pods.into_iter().flat_map(|pod| pod.containers).find(|c| c.id == id);
    container.with_context(|| format!("container {name} was removed"))
}

/// The newest attempt of each container of the pod that a name means, those first that were made first.
pub(super) async fn all(client: &mut Client, name: &str) -> anyhow::Result<Vec<api::Container>> {
    let found = inspected(client, name).await?;
    let id = match found["kind"].as_str() {
        Some("Pod") => found["id"].as_str(),
        Some("Container") => found["pod"].as_str(),
        _ => None,
    };
    let id = id.with_context(|| format!("{name} is not a pod"))?;
    let pods = client.list(api::ListRequest {}).await.map_err(told)?.into_inner().pods;
    let pod = pods.into_iter().find(|pod| pod.id == id);
    let mut containers = pod.with_context(|| format!("pod {name} was removed"))?.containers;
    containers.sort_by_key(|c| (std::cmp::Reverse(c.attempt), c.created_at));
    let mut newest: Vec<api::Container> = Vec::new();
    for container in containers {
        if !newest.iter().any(|known| known.name == container.name) {
            newest.push(container);
        }
    }
    newest.sort_by_key(|c| c.created_at);
    Ok(newest)
}

/// The attempt before this one.
pub(super) async fn before(client: &mut Client, of: &api::Container) -> anyhow::Result<api::Container> {
    let pods = client.list(api::ListRequest {}).await.map_err(told)?.into_inner().pods;
    let all = pods.into_iter().flat_map(|pod| pod.containers);
    let older = all.filter(|c| c.pod_id == of.pod_id && c.name == of.name && c.attempt < of.attempt);
    older.max_by_key(|c| c.attempt).with_context(|| format!("container {} was not run before", of.name))
}

/// The newest attempt of the only container of a pod.
fn only(pod: &serde_json::Value, name: &str) -> anyhow::Result<Option<String>> {
    let containers = pod["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name_of =
        |c: &serde_json::Value| c["config"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = containers.iter().map(name_of).collect();
    names.sort();
    names.dedup();
    if names.len() > 1 {
        let full: Vec<_> = names.iter().map(|n| format!("{name}/{n}")).collect();
        bail!(
            "pod {name} has several containers (hint: name one of {}, or --all-containers shows all of them)",
            full.join(", ")
        );
    }
    let newest = containers.iter().max_by_key(|c| c["config"]["metadata"]["attempt"].as_u64());
    Ok(newest.and_then(|c| c["id"].as_str()).map(str::to_owned))
}
