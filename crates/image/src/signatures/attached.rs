//! What sigstore's tools attach: a manifest with the tag `sha256-<hex>.sig`, whose layers are what is signed, and whose
//! layers' annotations have the signatures.

use std::collections::BTreeMap;

use berth_trust::Signature;
use berth_types::Digest;
use serde::Deserialize;

use super::{MAX_BYTES, MAX_SIGNATURES, SignaturesError};
use crate::json::nullable;
use crate::registry::Source;

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u64,
    #[serde(default, deserialize_with = "nullable")]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
}

/// The signatures attached to a manifest.
pub(super) async fn fetch(source: &Source, manifest: &Digest) -> Result<Vec<Signature>, SignaturesError> {
    let tag = format!("sha256-{}.sig", manifest.hex());
    let place = format!("{}:{tag}", source.reference().repository());
    let malformed = |why: String| SignaturesError::Malformed { place: place.clone(), why };
    let Some(bytes) = source.tagged(&tag).await? else { return Ok(Vec::new()) };
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
    if manifest.schema_version != 2 {
        return Err(malformed(format!("schemaVersion {}", manifest.schema_version)));
    }
    if manifest.layers.len() > MAX_SIGNATURES {
        return Err(malformed(format!("more than {MAX_SIGNATURES} signatures")));
    }
    let mut signatures = Vec::new();
    // Attestations and whatever else is attached is none.
    for layer in manifest.layers.into_iter().filter(|layer| layer.media_type == PAYLOAD) {
        let digest = layer.digest.parse().map_err(|_| malformed("a digest that is not sha256".to_owned()))?;
        if layer.size > MAX_BYTES {
            return Err(malformed(format!("a payload of {} bytes, {MAX_BYTES} are allowed", layer.size)));
        }
        let payload = source.small_blob(&digest, layer.size, MAX_BYTES).await?;
        signatures.push(Signature::Sigstore { payload: payload.to_vec(), annotations: layer.annotations });
    }
    Ok(signatures)
}
