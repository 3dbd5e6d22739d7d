//! From a reference to a manifest and its config, over the hosts of the registry.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use berth_types::{Digest, ImageRef, Kind};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use sha2::{Digest as _, Sha256};

use super::auth::TokenKey;
use super::manifest::{self, Descriptor, Document, Entry, Manifest, Unusable};
use super::retry::Retries;
use super::send::{self, Ask, Trust};
use super::{HostError, MAX_CONFIG, MAX_MANIFEST, Platform, Registry, RegistryError, Tried};
use crate::credentials::{Credentials, Keyring, KeyringError};
use crate::hosts::{self, Host, Role};

mod attached;

/// What a registry calls the digest of its answer.
const CONTENT_DIGEST: &str = "docker-content-digest";
/// How deep indexes may stand in indexes.
const MAX_DEPTH: usize = 3;
/// The most entries of an index without a platform that are looked at.
const MAX_UNNAMED: usize = 4;

/// A repository on the hosts that serve it, seen with one caller's credentials. Hosts and their
/// certificates are as the files said when it was made.
#[derive(Debug)]
pub struct Source {
    pub(super) registry: Registry,
    pub(super) reference: ImageRef,
    hosts: Vec<Host>,
    keyring: Keyring,
    /// Hosts that did not answer.
    silent: Mutex<HashSet<String>>,
    /// By the host's authority; a helper program is asked once per pull.
    credentials: tokio::sync::Mutex<HashMap<String, Credentials>>,
}

/// What a reference led to.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What the tag or digest names: an index or a manifest. The repository's digest of the image.
    pub digest: Digest,
    /// The digest of the manifest for the platform.
    pub manifest_digest: Digest,
    /// That manifest, as received; its sum is `manifest_digest`.
    pub manifest_bytes: Bytes,
    /// That manifest, read.
    pub manifest: Manifest,
    /// The config, as received; its sum is the manifest's. Empty for an artifact.
    pub config: Bytes,
}

/// What a small answer must be.
struct Wanted<'a> {
    what: &'static str,
    path: String,
    accept: Option<&'static str>,
    limit: u64,
    digest: Option<&'a Digest>,
    size: Option<u64>,
    /// Whether it can be understood: what a tag names has no digest to verify it by.
    check: fn(&Received) -> Result<(), String>,
}

struct Received {
    bytes: Bytes,
    digest: Digest,
    headers: HeaderMap,
}

impl Received {
    fn document(&self) -> Result<Document, Unusable> {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        manifest::parse(content_type, &self.bytes)
    }
}

impl Source {
    /// Reads the hosts of the reference's registry.
    pub fn new(registry: &Registry, reference: ImageRef, keyring: Keyring) -> Result<Self, RegistryError> {
        let hosts = hosts::hosts(&registry.places().certs_dirs, reference.host())
            .map_err(|source| RegistryError::Hosts { registry: reference.host().to_owned(), source })?;
        Ok(Self {
            registry: registry.clone(),
            reference,
            hosts,
            keyring,
            silent: Mutex::default(),
            credentials: Default::default(),
        })
    }

    /// The registry itself, which alone is written to; where the configuration has only others, the last of them.
    pub(crate) fn own_host(&self) -> Option<&Host> {
        let own = self.hosts.iter().find(|host| host.role == Role::Registry);
        own.or_else(|| self.hosts.last())
    }

    /// The reference.
    pub fn reference(&self) -> &ImageRef {
        &self.reference
    }

    /// The client.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What the tag names at this moment, without fetching it (which registries count and limit). None
    /// when no host says so: then [`Source::resolve`] tells why.
    pub async fn head(&self) -> Option<Digest> {
        let ask = Ask {
            method: Method::HEAD,
            path: format!("manifests/{}", self.reference.selector()),
            accept: Some(manifest::ACCEPT),
            range: None,
            trust: Trust::Connection,
        };
        let hosts = self.capable(self.reference.digest().is_some()).ok()?;
        for (index, host) in hosts.iter().enumerate() {
            if self.skips(host, index + 1 == hosts.len()) {
                continue;
            }
            match send::send(self, host, &ask).await {
                Ok(response) => {
                    return response.headers().get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok();
                }
                Err(error) => self.note(host, &error),
            }
        }
        None
    }

    /// Remembers a host that did not answer: it is waited for once in a pull, not once for each blob.
    pub(crate) fn note(&self, host: &Host, error: &HostError) {
        if matches!(error, HostError::Connect { .. } | HostError::Timeout { step: send::REQUEST, .. }) {
            self.silent.lock().unwrap_or_else(PoisonError::into_inner).insert(host.authority.clone());
        }
    }

    /// Whether a host is not worth asking, given that others follow.
    pub(crate) fn skips(&self, host: &Host, last: bool) -> bool {
        !last && self.silent.lock().unwrap_or_else(PoisonError::into_inner).contains(&host.authority)
    }

    /// Fetches and checks the manifest for `platform`, and its config.
    pub async fn resolve(&self, platform: &Platform) -> Result<Resolved, RegistryError> {
        let root = self.manifest(self.reference.selector(), self.reference.digest(), None).await?;
        let digest = root.0.digest.clone();
        self.descend(&digest, root, platform, 0, false).await
    }

    /// From a document, `depth` indexes deep, to an image for `platform`; `assumed` when an index on the way did not
    /// say what its entry is for. Such entries are looked at one after the other.
    fn descend<'a>(
        &'a self,
        digest: &'a Digest,
        (received, document): (Received, Document),
        platform: &'a Platform,
        depth: usize,
        assumed: bool,
    ) -> BoxFuture<'a, Result<Resolved, RegistryError>> {
        Box::pin(async move {
            let entries = match document {
                Document::Manifest(manifest) => {
                    return self
                        .with_config(digest.clone(), received, manifest, assumed.then_some(platform))
                        .await;
                }
                Document::Index(entries) => entries,
            };
            if depth == MAX_DEPTH {
                return Err(self.unusable(format!("more than {MAX_DEPTH} nested indexes")));
            }
            let (mut unfit, mut artifact) = (None, None);
            for entry in self.choose(entries, platform)? {
                let assumed = assumed || entry.platform.is_none();
                let wanted = &entry.descriptor;
                let found =
                    self.manifest(wanted.digest.as_str(), Some(&wanted.digest), Some(wanted.size)).await;
                let tried = match found {
                    Ok(found) => self.descend(digest, found, platform, depth + 1, assumed).await,
                    Err(error) => Err(error),
                };
                match tried {
                    Err(error @ (RegistryError::Platform { .. } | RegistryError::Manifest { .. })) => {
                        unfit = Some(error);
                    }
                    // Lists of contents and signatures lie beside images: they are meant only where there is no image.
                    Ok(found) if assumed && found.manifest.artifact.is_some() => {
                        artifact.get_or_insert(found);
                    }
                    done => return done,
                }
            }
            match (unfit, artifact) {
                (None, Some(artifact)) => Ok(artifact),
                (unfit, _) => Err(unfit.unwrap_or_else(|| self.unusable("its index is empty".to_owned()))),
            }
        })
    }

    async fn with_config(
        &self,
        digest: Digest,
        manifest_received: Received,
        manifest: Manifest,
        check: Option<&Platform>,
    ) -> Result<Resolved, RegistryError> {
        if manifest.artifact.is_some() {
            // Its configuration says nothing of an image, and is often empty.
            let (manifest_digest, manifest_bytes) = (manifest_received.digest, manifest_received.bytes);
            return Ok(Resolved { digest, manifest_digest, manifest_bytes, manifest, config: Bytes::new() });
        }
        let Descriptor { digest: wanted, size, .. } = &manifest.config;
        if *size > MAX_CONFIG {
            return Err(self.unusable(format!("its config has {size} bytes, {MAX_CONFIG} are allowed")));
        }
        let config = self
            .small(&Wanted {
                what: "config",
                path: format!("blobs/{wanted}"),
                accept: None,
                limit: MAX_CONFIG,
                digest: Some(wanted),
                size: Some(*size),
                check: |_| Ok(()),
            })
            .await?;
        if let Some(platform) = check {
            self.check_config(&config.bytes, platform)?;
        }
        Ok(Resolved {
            digest,
            manifest_digest: manifest_received.digest,
            manifest_bytes: manifest_received.bytes,
            manifest,
            config: config.bytes,
        })
    }

    /// An entry of an index that named no platform is matched by its config.
    fn check_config(&self, config: &[u8], wanted: &Platform) -> Result<(), RegistryError> {
        #[derive(serde::Deserialize)]
        struct Config {
            #[serde(default)]
            os: String,
            #[serde(default)]
            architecture: String,
            #[serde(default)]
            variant: String,
        }
        let Ok(config) = serde_json::from_slice::<Config>(config) else { return Ok(()) };
        let found = Platform::new(&config.os, &config.architecture, &config.variant);
        match wanted.choose([&found]) {
            Some(_) => Ok(()),
            None => Err(self.no_platform(wanted, &[found])),
        }
    }

    /// The entry that fits best; where none says so, those that do not say what they are for.
    fn choose(&self, entries: Vec<Entry>, wanted: &Platform) -> Result<Vec<Entry>, RegistryError> {
        let (known, unnamed): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| entry.platform.is_some());
        let mut platforms: Vec<Platform> = known.iter().filter_map(|e| e.platform.clone()).collect();
        if let Some(best) = wanted.choose(&platforms) {
            return Ok(known.into_iter().skip(best).take(1).collect());
        }
        if unnamed.is_empty() {
            platforms.dedup();
            return Err(self.no_platform(wanted, &platforms));
        }
        Ok(unnamed.into_iter().take(MAX_UNNAMED).collect())
    }

    fn no_platform(&self, wanted: &Platform, available: &[Platform]) -> RegistryError {
        // Build tools keep attestations as entries for unknown/unknown.
        let mut names: Vec<String> = available.iter().map(|p| send::shown(&p.to_string())).collect();
        names.retain(|name| !name.starts_with("unknown"));
        names.dedup();
        RegistryError::Platform {
            what: self.reference.to_string(),
            wanted: wanted.to_string(),
            available: names.join(", "),
        }
    }

    async fn manifest(
        &self,
        selector: &str,
        digest: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<(Received, Document), RegistryError> {
        let wanted = Wanted {
            what: "manifest",
            path: format!("manifests/{selector}"),
            accept: Some(manifest::ACCEPT),
            limit: MAX_MANIFEST,
            digest,
            size,
            check: |received| match received.document() {
                Err(Unusable::Malformed(problem)) => Err(problem),
                Ok(_) | Err(Unusable::Unsupported(_)) => Ok(()),
            },
        };
        let received = self.small(&wanted).await?;
        match received.document() {
            Ok(document) => Ok((received, document)),
            Err(Unusable::Unsupported(problem)) => Err(self.unusable(problem)),
            Err(Unusable::Malformed(problem)) => {
                let what = self.reference.to_string();
                Err(RegistryError::Manifest { what, problem, kind: Kind::Corrupt })
            }
        }
    }

    fn unusable(&self, problem: String) -> RegistryError {
        RegistryError::Manifest { what: self.reference.to_string(), problem, kind: Kind::Unsupported }
    }

    /// Asks the hosts in order until one has it; only the last one is asked again after a failure.
    async fn small(&self, wanted: &Wanted<'_>) -> Result<Received, RegistryError> {
        let hosts = self.capable(wanted.digest.is_some())?;
        let timeouts = &self.registry.inner.config.timeouts;
        let mut tried = Vec::new();
        for (index, host) in hosts.iter().enumerate() {
            let last = index + 1 == hosts.len();
            if self.skips(host, last) {
                tried.push(Tried { host: host.to_string(), error: HostError::GivenUp });
                continue;
            }
            let retries = if last { Retries::new(timeouts) } else { Retries::none(timeouts) };
            let result = self.small_with_retries(host, wanted, retries).await;
            let result = result.and_then(|received| match (wanted.check)(&received) {
                // A proxy or a page for logging in, say. What the last host has is the caller's to refuse.
                Err(problem) if !last => Err(HostError::Malformed { what: wanted.what, problem }),
                _ => Ok(received),
            });
            match result {
                Ok(received) => return Ok(received),
                Err(error) => {
                    self.note(host, &error);
                    tried.push(Tried { host: host.to_string(), error });
                }
            }
        }
        Err(RegistryError::AllHosts { what: self.reference.to_string(), tried })
    }

    /// The hosts that may be asked for content by digest, or by tag.
    pub(crate) fn capable(&self, by_digest: bool) -> Result<Vec<&Host>, RegistryError> {
        let able = |host: &&Host| if by_digest { host.capabilities.pull } else { host.capabilities.resolve };
        let hosts: Vec<&Host> = self.hosts.iter().filter(able).collect();
        if hosts.is_empty() {
            return Err(RegistryError::NoHost {
                what: self.reference.to_string(),
                registry: self.reference.host().to_owned(),
                action: if by_digest { "pull" } else { "resolve" },
            });
        }
        Ok(hosts)
    }

    async fn small_with_retries(
        &self,
        host: &Host,
        wanted: &Wanted<'_>,
        mut retries: Retries,
    ) -> Result<Received, HostError> {
        loop {
            match self.small_from(host, wanted).await {
                Err(error) => retries.again(error).await?,
                done => return done,
            }
        }
    }

    async fn small_from(&self, host: &Host, wanted: &Wanted<'_>) -> Result<Received, HostError> {
        let what = wanted.what;
        let ask = Ask {
            method: Method::GET,
            path: wanted.path.clone(),
            accept: wanted.accept,
            range: None,
            trust: if wanted.digest.is_some() { Trust::Digest } else { Trust::Connection },
        };
        let response = send::send(self, host, &ask).await?;
        let (head, body) = response.into_parts();
        let timeouts = &self.registry.inner.config.timeouts;
        let bytes = send::body(body, what, wanted.limit, timeouts).await?;
        let found = bytes.len() as u64;
        if let Some(size) = wanted.size.filter(|size| *size != found) {
            return Err(HostError::WrongSize { what, wanted: size, found });
        }
        let digest = Digest::from_sha256(Sha256::digest(&bytes).into());
        let claimed = head.headers.get(CONTENT_DIGEST).and_then(|v| v.to_str().ok()?.parse().ok());
        for wanted in wanted.digest.into_iter().chain(claimed.as_ref()) {
            if *wanted != digest {
                return Err(HostError::WrongDigest { what, wanted: wanted.clone(), found: digest });
            }
        }
        Ok(Received { bytes, digest, headers: head.headers })
    }

    pub(super) async fn token_key(&self, host: &Host) -> Result<TokenKey, KeyringError> {
        let server = match host.role {
            Role::Registry => self.reference.host(),
            Role::Mirror => &host.authority,
        };
        let mut known = self.credentials.lock().await;
        let credentials = match known.get(server) {
            Some(credentials) => credentials.clone(),
            None => {
                let path = self.reference.path();
                let found = self.keyring.lookup(server, self.reference.host(), path).await?;
                known.insert(server.to_owned(), found.clone());
                found
            }
        };
        let repository = self.reference.path().to_owned();
        // Two mirrors may be paths of one host, each with tokens of its own.
        Ok(TokenKey {
            authority: format!("{}{}", host.authority, host.path),
            repository,
            credentials,
            writes: false,
        })
    }
}
