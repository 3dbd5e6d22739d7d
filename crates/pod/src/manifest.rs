//! Manifests as users write them: pods and workloads in YAML or JSON, several documents in a file, with the ConfigMaps and Secrets
//! that the pods use.
//!
//! Every field in a manifest is supported or refused by its path; none is ignored. The
//! meaning of a field is that of the Kubernetes API reference for `v1.Pod`.

mod claim;
mod fields;
mod lists;
mod named;
mod objects;
mod refused;
mod service;
mod settled;
mod spec;
mod workload;

use std::collections::BTreeSet;

use serde_json::Value;

pub use berth_types::quantity::{Quantity, QuantityError};
pub use claim::Claim;
pub use named::{Named, names};
pub use objects::*;
pub(crate) use refused::list;
pub use service::*;
pub use spec::*;
pub(crate) use workload::read::job_document;
pub(crate) use workload::template::{Own, document as document_of};
pub use workload::*;

/// The most bytes of a manifest.
pub const MAX_BYTES: usize = 1 << 20;
/// The most documents in a file.
pub const MAX_DOCUMENTS: usize = 100;

/// What documents may be.
const KINDS: &str = "Pod, Service, ConfigMap, Secret and PersistentVolumeClaim of v1, Deployment, ReplicaSet, StatefulSet and DaemonSet of apps/v1, Job and CronJob of batch/v1";

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MAX_BYTES`].
    #[error("the manifest has {0} bytes, {MAX_BYTES} are allowed")]
    TooLarge(usize),
    /// More than [`MAX_DOCUMENTS`].
    #[error("the manifest has {0} documents, {MAX_DOCUMENTS} are allowed")]
    TooMany(usize),
    /// Not YAML.
    #[error("the manifest is not YAML: {0}")]
    Syntax(String),
    /// No document holds anything.
    #[error("the manifest is empty")]
    Empty,
    /// ConfigMaps and Secrets alone.
    #[error("the manifest has no Pod and no workload")]
    NoPod,
    /// Not an object of Kubernetes.
    #[error("document {0} is not a manifest: expected a mapping with apiVersion, kind, metadata and spec")]
    Shape(usize),
    /// Neither a pod nor what pods use.
    #[error("document {document}: {kind:?} of {api_version:?} is not supported: only {KINDS} are")]
    Kind {
        /// Counted from 1.
        document: usize,
        /// What `kind` says.
        kind: String,
        /// What `apiVersion` says.
        api_version: String,
    },
    /// A field that Kubernetes has and Berth does not support yet.
    #[error("document {document}: {path} is not supported yet: remove it")]
    Later {
        /// Counted from 1.
        document: usize,
        /// The field.
        path: String,
    },
    /// Two documents define the same.
    #[error("document {document}: duplicate {kind} {name} in the manifest")]
    Duplicate {
        /// The second, counted from 1.
        document: usize,
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A field with an invalid value.
    #[error("document {document}: {path}: {message}")]
    Field {
        /// Counted from 1.
        document: usize,
        /// The field.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// A fault of one of several files.
    #[error("{file}: {fault}")]
    File {
        /// Its name.
        file: String,
        /// What is wrong.
        fault: Box<ManifestError>,
    },
    /// More than one of these.
    #[error("{}", list(.0))]
    Several(Vec<ManifestError>),
}

impl ManifestError {
    /// The same, with the name of its file where it has one.
    fn in_file(self, name: &str) -> Self {
        if name.is_empty() { self } else { Self::File { file: name.to_owned(), fault: Box::new(self) } }
    }
}

impl berth_types::Classify for ManifestError {
    fn kind(&self) -> berth_types::Kind {
        match self {
            Self::Several(all) if all.iter().all(|e| e.kind() == berth_types::Kind::Unsupported) => {
                berth_types::Kind::Unsupported
            }
            Self::File { fault, .. } => fault.kind(),
            Self::Kind { .. } | Self::Later { .. } => berth_types::Kind::Unsupported,
            Self::TooLarge(_)
            | Self::TooMany(_)
            | Self::Syntax(_)
            | Self::Empty
            | Self::NoPod
            | Self::Shape(_)
            | Self::Duplicate { .. }
            | Self::Field { .. }
            | Self::Several(_) => berth_types::Kind::Invalid,
        }
    }
}

/// What a manifest makes.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// Its pods, in the order of the documents.
    pub pods: Vec<Pod>,
    /// Its workloads, in the order of the documents.
    pub workloads: Vec<Workload>,
    /// Its PersistentVolumeClaims.
    pub claims: Vec<Claim>,
    /// Its Services.
    pub services: Vec<Service>,
}

impl Manifest {
    /// Its pods, and one of each workload's.
    pub fn all_pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().chain(self.workloads.iter().map(|workload| &workload.pod))
    }
}

/// The pods of a manifest.
pub fn parse(text: &[u8]) -> Result<Vec<Pod>, ManifestError> {
    parse_files(&[("", text)]).map(|manifest| manifest.pods)
}

/// What several files make, each of a name and a text. Pods and workloads use the objects of all of them.
pub fn parse_files(files: &[(&str, &[u8])]) -> Result<Manifest, ManifestError> {
    let bytes = files.iter().map(|(_, text)| text.len()).sum();
    if bytes > MAX_BYTES {
        return Err(ManifestError::TooLarge(bytes));
    }
    let mut found = Found::default();
    for (name, text) in files {
        if let Err(faults) = found.file(text) {
            found.faults.extend(faults.into_iter().map(|fault| fault.in_file(name)));
        }
    }
    found.finish()
}

/// A pod and its objects as an earlier daemon kept them: [`Pod::source`] and [`Objects::source`].
pub fn resume(pod: &str, objects: &str) -> Result<Pod, ManifestError> {
    kept(pod, objects)?.pods.pop().ok_or(ManifestError::NoPod)
}

/// A workload and its objects as an earlier daemon kept them: [`Workload::source`] and [`Objects::source`].
pub fn resume_workload(workload: &str, objects: &str) -> Result<Workload, ManifestError> {
    kept(workload, objects)?.workloads.pop().ok_or(ManifestError::NoPod)
}

fn kept(document: &str, objects: &str) -> Result<Manifest, ManifestError> {
    let mut found = Found::default();
    let texts = [document, objects];
    let values = texts.iter().flat_map(|text| serde_json::Deserializer::from_str(text).into_iter());
    for (index, value) in values.enumerate() {
        let value: Value = value.map_err(|e| ManifestError::Syntax(e.to_string()))?;
        if let Err(faults) = found.document(index + 1, value) {
            found.faults.extend(faults);
        }
    }
    found.finish()
}

/// What is wrong with a text, in a user's words.
fn words(error: &serde_saphyr::Error) -> String {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key, location } => {
            let key = key.as_deref().unwrap_or("?");
            format!("duplicate key {key} at line {}, column {}", location.line(), location.column())
        }
        _ => error.to_string(),
    }
}

/// Why there is no such thing here: the version is another one, or the kind.
fn of_kind(document: usize, kind: String, api_version: String) -> ManifestError {
    let core = ["Pod", "Service", "PersistentVolumeClaim"].contains(&kind.as_str())
        || ObjectKind::of(&kind).is_some();
    let workload = WorkloadKind::named(&kind).filter(|workload| workload.word() == kind);
    let Some(expected) = workload.map(WorkloadKind::api_version).or(core.then_some("v1")) else {
        return ManifestError::Kind { document, kind, api_version };
    };
    let what =
        if api_version.is_empty() { "it is missing".to_owned() } else { format!("it is {api_version:?}") };
    let message = format!("{what}, and that of {kind} is {expected:?}");
    ManifestError::Field { document, path: "apiVersion".to_owned(), message }
}

/// What the documents of a manifest are.
#[derive(Default)]
struct Found {
    made: Manifest,
    objects: Vec<Object>,
    faults: Vec<ManifestError>,
    seen: BTreeSet<(&'static str, String, String)>,
    /// How many there were, and in lists.
    documents: usize,
    items: usize,
}

impl Found {
    /// The documents of a text.
    fn documents(text: &[u8]) -> Result<Vec<Value>, ManifestError> {
        let syntax = |message: String| ManifestError::Syntax(message);
        let text = std::str::from_utf8(text).map_err(|e| syntax(e.to_string()))?;
        // A mode is written 0644, as kubectl reads it.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        serde_saphyr::from_multiple_with_options(text, options).map_err(|e| syntax(words(&e)))
    }

    fn file(&mut self, text: &[u8]) -> Result<(), Vec<ManifestError>> {
        let documents = Self::documents(text).map_err(|fault| vec![fault])?;
        self.documents += documents.len();
        if self.documents > MAX_DOCUMENTS {
            return Err(vec![ManifestError::TooMany(self.documents)]);
        }
        let mut faults = Vec::new();
        for (index, value) in documents.into_iter().enumerate().filter(|(_, value)| !value.is_null()) {
            faults.extend(self.document(index + 1, value).err().into_iter().flatten());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn document(&mut self, document: usize, mut value: Value) -> Result<(), Vec<ManifestError>> {
        let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, api_version) = (word("kind"), word("apiVersion"));
        if !value.is_object() || kind.is_empty() {
            return Err(vec![ManifestError::Shape(document)]);
        }
        if api_version == "v1"
            && let Some(of) = lists::of(&kind)
        {
            return self.list(document, &value, of);
        }
        let workload = WorkloadKind::named(&kind);
        if let Some(workload) = workload.filter(|w| w.word() == kind && w.api_version() == api_version) {
            return self.workload(document, workload, value);
        }
        if kind == "PersistentVolumeClaim" && api_version == "v1" {
            settled::drop_what_says_nothing(&mut value);
            let read = claim::read_claim(document, &value)?;
            self.fresh(document, "PersistentVolumeClaim", &read.namespace, &read.name)?;
            self.made.claims.push(read);
            return Ok(());
        }
        if kind == "Service" && api_version == "v1" {
            settled::drop_what_says_nothing(&mut value);
            let read = service::read_service(document, &value)?;
            self.fresh(document, "Service", &read.namespace, &read.name)?;
            self.made.services.push(read);
            return Ok(());
        }
        let object = ObjectKind::of(&kind);
        if api_version != "v1" || (kind != "Pod" && object.is_none()) {
            return Err(vec![of_kind(document, kind, api_version)]);
        }
        if let Some(object) = object {
            objects::keep_empty_values(&mut value);
            settled::drop_what_says_nothing(&mut value);
            let read = objects::read(document, object, &value)?;
            self.fresh(document, object.word(), &read.namespace, &read.name)?;
            self.objects.push(read);
            return Ok(());
        }
        settled::drop_what_says_nothing(&mut value);
        let pod: Pod = refused::read(document, "v1 Pod", &value)?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        self.fresh(document, "pod", namespace, &pod.metadata.name)?;
        self.made.pods.push(Pod { source: value.to_string(), ..pod });
        Ok(())
    }

    fn workload(
        &mut self,
        document: usize,
        kind: WorkloadKind,
        mut value: Value,
    ) -> Result<(), Vec<ManifestError>> {
        settled::drop_what_says_nothing(&mut value);
        let read = read_workload(document, kind, &value)?;
        self.fresh(document, kind.word(), &read.namespace, &read.name)?;
        self.made.workloads.push(read);
        Ok(())
    }

    /// Each item is what a document of its own would be.
    fn list(&mut self, document: usize, value: &Value, of: &str) -> Result<(), Vec<ManifestError>> {
        let mut faults = Vec::new();
        for (index, item) in lists::items(document, value, of)?.into_iter().enumerate() {
            self.items += 1;
            if self.items > MAX_DOCUMENTS {
                return Err(vec![ManifestError::TooMany(self.items)]);
            }
            if let Err(of_item) = self.document(document, item) {
                faults.extend(of_item.into_iter().map(|fault| lists::within(index, fault)));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn fresh(
        &mut self,
        document: usize,
        kind: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<(), Vec<ManifestError>> {
        let fresh = self.seen.insert((kind, namespace.to_owned(), name.to_owned()));
        let twice = || vec![ManifestError::Duplicate { document, kind, name: name.to_owned() }];
        fresh.then_some(()).ok_or_else(twice)
    }

    fn finish(mut self) -> Result<Manifest, ManifestError> {
        if self.faults.len() > 1 {
            return Err(ManifestError::Several(self.faults));
        }
        if let Some(fault) = self.faults.pop() {
            return Err(fault);
        }
        let Manifest { pods, workloads, claims, services } = &self.made;
        if pods.is_empty() && workloads.is_empty() && claims.is_empty() && services.is_empty() {
            return Err(if self.objects.is_empty() { ManifestError::Empty } else { ManifestError::NoPod });
        }
        let workloads = self.made.workloads.iter_mut().map(|workload| &mut workload.pod);
        for pod in self.made.pods.iter_mut().chain(workloads) {
            pod.objects = Objects::of(pod, &self.objects);
        }
        Ok(self.made)
    }
}

#[cfg(test)]
mod tests;
