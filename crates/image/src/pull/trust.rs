//! Whether an image may be used, asked on the way of a pull: before a registry is asked, and again when the manifest
//! that will be stored is there. What was decided on is what is stored.

use std::time::SystemTime;

use berth_trust::{Policy, Registries, Rule, rule_for};
use berth_types::ImageRef;

use super::{PullError, candidates};
use crate::registry::{Places, Resolved, Source};
use crate::signatures::{self, kept};
use crate::{Image, Images};

/// What a pull is allowed by.
#[derive(Debug)]
pub(super) struct Gate {
    rule: Option<Rule>,
    registries: std::path::PathBuf,
}

impl Gate {
    /// Reads the policy, and refuses what no signature makes acceptable. Where there is no policy, everything passes.
    pub(super) fn open(
        places: &Places,
        namespace: Option<&str>,
        reference: &ImageRef,
    ) -> Result<Self, PullError> {
        let Some(trust) = &places.trust else {
            return Ok(Self { rule: None, registries: Default::default() });
        };
        let policy = Policy::of(trust, namespace)?;
        let rule = policy.map(|policy| rule_for(&policy, "docker", Some(reference)));
        if let Some(rule) = &rule {
            rule.before()?;
        }
        Ok(Self { rule, registries: trust.registries.clone() })
    }

    /// Whether the manifest itself does not matter.
    pub(super) fn is_open(&self) -> bool {
        !self.rule.as_ref().is_some_and(Rule::needs_signatures)
    }

    /// Refuses a manifest that is not signed as it has to be.
    pub(super) async fn pass(
        &self,
        images: &Images,
        source: &Source,
        resolved: &Resolved,
    ) -> Result<(), PullError> {
        let Some(rule) = self.rule.as_ref().filter(|rule| rule.needs_signatures()) else { return Ok(()) };
        let (reference, manifest) = (source.reference(), &resolved.manifest_digest);
        let failed = |error| PullError::Signatures { reference: reference.to_string(), source: error };
        let found = Registries::read(&self.registries).map_err(|error| failed(error.into()))?.find(reference);
        let signatures = signatures::fetch(source, manifest, &found).await.map_err(failed)?;
        let (rule, dir) = (rule.clone(), images.dir().to_owned());
        let (reference, manifest) = (reference.clone(), manifest.clone());
        let name = reference.to_string();
        let decided = tokio::task::spawn_blocking(move || {
            let image = berth_trust::Image { reference: &reference, manifest: &manifest };
            rule.decide(image, &signatures, SystemTime::now())?;
            kept::keep(&dir, &manifest, &signatures);
            Ok::<(), PullError>(())
        });
        decided.await.unwrap_or(Err(PullError::CalledOff(name)))
    }
}

/// Whether pods of a namespace may use an image that is here already, by the name that it is asked for by: what the policy of
/// the namespace says. The machine's policy was asked when it was pulled.
///
/// # Errors
/// See [`PullError`].
pub fn may_use(
    images: &Images,
    places: &Places,
    namespace: &str,
    name: &str,
    image: &Image,
) -> Result<(), PullError> {
    let Some(trust) = &places.trust else { return Ok(()) };
    let Some(policy) = Policy::of_namespace(trust, Some(namespace))? else { return Ok(()) };
    let candidates = candidates(name, &places.unqualified_registries)?;
    let has = |reference: &&ImageRef| reference.tagged().is_some_and(|tag| image.tags.contains(&tag));
    let Some(reference) = candidates.iter().find(has).or(candidates.first()) else { return Ok(()) };
    let rule = rule_for(&policy, "docker", Some(reference));
    rule.before()?;
    if rule.needs_signatures() {
        let asked = berth_trust::Image { reference, manifest: &image.manifest };
        rule.decide(asked, &kept::read(images.dir(), &image.manifest), SystemTime::now())?;
    }
    Ok(())
}
