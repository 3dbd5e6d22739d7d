//! `imagePullSecrets`: credentials for registries in Secrets of the manifest, in docker's two forms.

use std::collections::BTreeMap;

use berth_engine::image::credentials::{RequestAuth, Secret};
use serde::Deserialize;

use crate::manifest::{ObjectKind, Pod};

/// What a file of docker says of one server.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
}

#[derive(Deserialize)]
struct File {
    auths: BTreeMap<String, Entry>,
}

/// What the secrets of a pod have for the registry of an image: those of the longest path that it is below.
pub(super) fn auth(pod: &Pod, image: &str) -> Option<RequestAuth> {
    let image = whole_name(image);
    let secrets = pod.spec.image_pull_secrets.iter();
    let objects = secrets.filter_map(|secret| pod.objects.get(ObjectKind::Secret, &secret.name));
    let mut best: Option<(usize, Entry)> = None;
    for object in objects {
        let bytes = |key: &str| object.data.get(key).map(|entry| entry.bytes.as_slice());
        let found = match (bytes(".dockerconfigjson"), bytes(".dockercfg")) {
            (Some(text), _) => serde_json::from_slice::<File>(text).ok().map(|file| file.auths),
            (None, Some(text)) => serde_json::from_slice::<BTreeMap<String, Entry>>(text).ok(),
            (None, None) => None,
        };
        for (server, entry) in found.unwrap_or_default() {
            let place = place(&server);
            let fits = image == place || image.strip_prefix(&place).is_some_and(|rest| rest.starts_with('/'));
            if fits && best.as_ref().is_none_or(|(length, _)| place.len() > *length) {
                best = Some((place.len(), entry));
            }
        }
    }
    best.map(|(_, entry)| RequestAuth {
        username: entry.username,
        password: Secret::new(entry.password),
        auth: Secret::new(entry.auth),
        identity_token: Secret::new(entry.identitytoken),
        ..RequestAuth::default()
    })
}

/// `docker.io/library/busybox:1` for `busybox:1`.
fn whole_name(image: &str) -> String {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    }
}

/// A server as docker's files name it, without what is not part of a name.
fn place(server: &str) -> String {
    let bare = server.split_once("://").map_or(server, |(_, rest)| rest).trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    match bare.split_once('/').unwrap_or((bare, "")) {
        ("index.docker.io" | "registry-1.docker.io" | "docker.io", "") => "docker.io".to_owned(),
        ("index.docker.io" | "registry-1.docker.io", path) => format!("docker.io/{path}"),
        _ => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests;
