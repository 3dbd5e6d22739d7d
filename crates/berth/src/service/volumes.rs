//! Volumes that outlive pods.

use berth_pod::volumes::Kept;
use tonic::Status;

use super::pods::outcome;
use super::{Service, refuse};
use crate::api;

/// Makes a volume. One that is there stays as it is, as docker has it.
pub(super) async fn make(
    service: &Service,
    request: api::MakeVolumeRequest,
) -> Result<api::MakeVolumeResponse, Status> {
    let anonymous = request.name.is_empty();
    let name = if anonymous {
        berth_engine::random_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    } else {
        request.name
    };
    let labels = request.labels.into_iter().collect();
    service.pods.make_volume(&name, labels, anonymous).await.map_err(refuse)?;
    Ok(api::MakeVolumeResponse { name })
}

/// All of them, by name.
pub(super) fn list(service: &Service) -> api::VolumesResponse {
    let volumes = service.pods.volumes().into_iter().map(message).collect();
    api::VolumesResponse { volumes }
}

fn message((kept, used_by): (Kept, Vec<String>)) -> api::Volume {
    api::Volume {
        name: kept.name,
        path: kept.path.display().to_string(),
        created_at: kept.document.created_at,
        labels: kept.document.labels.into_iter().collect(),
        anonymous: kept.document.anonymous,
        used_by,
    }
}

/// Removes volumes; goes on past failures.
pub(super) async fn remove(
    service: &Service,
    request: api::RemoveVolumesRequest,
) -> api::RemoveVolumesResponse {
    let mut outcomes = Vec::new();
    for name in &request.names {
        let removed = service.pods.remove_volume(name).await.map_err(refuse);
        let missing = matches!(&removed, Err(status) if status.code() == tonic::Code::NotFound);
        outcomes.push(if missing && request.force { outcome(name, Ok(())) } else { outcome(name, removed) });
    }
    api::RemoveVolumesResponse { outcomes }
}
