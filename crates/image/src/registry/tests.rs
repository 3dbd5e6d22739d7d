//! The client against a registry that asks for credentials, sends wrong data and fails on request.

use std::sync::Arc;
use std::time::Duration;

use berth_testkit::image::{Built, Compression, Format, Image, Index, Layer};
use berth_testkit::registry::{Auth, Fault, FaultAction, On, Registry as TestRegistry};
use berth_types::{Classify, ImageRef, Kind};

use super::*;
use crate::credentials::{Keyring, RequestAuth, Secret};
use crate::hosts::Host;

mod access;
mod answers;
mod connections;
mod hostile;
mod hosts;
mod scripted;

/// Short waits, so that failures are quick.
pub(crate) fn config() -> Config {
    Config {
        platform: "linux/amd64".parse().unwrap(),
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            answer: Duration::from_secs(2),
            stall: Duration::from_millis(300),
            backoff: Duration::from_millis(1),
            backoff_max: Duration::from_millis(20),
        },
        proxy_from_environment: false,
        ..Config::default()
    }
}

pub(crate) fn source(registry: &TestRegistry, rest: &str, config: Config, keyring: Keyring) -> Source {
    let reference: ImageRef = format!("{}/{rest}", registry.host()).parse().unwrap();
    Source::new(&Registry::new(config), reference, keyring).unwrap()
}

fn open(registry: &TestRegistry, rest: &str) -> Source {
    source(registry, rest, config(), Keyring::default())
}

fn platform() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn image(text: &str) -> Image {
    let layer = Layer::new().file("hello", 0o644, text.to_owned()).build(Compression::Gzip).unwrap();
    Image::new(Format::Oci).architecture("amd64").layer(&layer)
}

fn started(built: &Built) -> TestRegistry {
    let registry = TestRegistry::start().unwrap();
    registry.push("a/b", "1", built);
    registry
}

/// The reason of the only host that was asked.
fn reason(error: RegistryError) -> HostError {
    match error {
        RegistryError::AllHosts { mut tried, .. } if tried.len() == 1 => tried.remove(0).error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tag_leads_to_manifest_and_config_of_both_families() {
    for format in [Format::Oci, Format::Docker] {
        let layer = Layer::new().file("x", 0o644, "x").build(Compression::Gzip).unwrap();
        let built = Image::new(format).architecture("amd64").layer(&layer).layer(&layer).build();
        let registry = started(&built);
        let resolved = open(&registry, "a/b:1").resolve(&platform()).await.unwrap();
        assert_eq!(resolved.digest, built.digest);
        assert_eq!(resolved.manifest_digest, built.digest);
        assert_eq!(Some(&resolved.manifest.config.digest), built.id.as_ref());
        assert_eq!(resolved.manifest.layers.len(), 2);
        let accept = &registry.requests()[0].accept;
        for kind in ["image.index.v1", "image.manifest.v1", "manifest.list.v2", "distribution.manifest.v2"] {
            assert!(accept.contains(kind), "{kind} is missing in {accept}");
        }
    }
}

#[tokio::test]
async fn a_digest_is_asked_for_and_wins_over_the_tag() {
    let (old, new) = (image("old").build(), image("new").build());
    let registry = started(&old);
    registry.push("a/b", "1", &new);
    let source = open(&registry, &format!("a/b:1@{}", old.digest));
    assert_eq!(source.resolve(&platform()).await.unwrap().digest, old.digest);
}

#[tokio::test]
async fn an_index_gives_the_best_platform_and_its_own_digest() {
    let (arm, amd) = (image("arm").architecture("arm64").build(), image("amd").build());
    let index = Index::new(Format::Oci).image(&arm).image(&amd).build();
    let registry = started(&index);
    let source = open(&registry, "a/b:1");
    let resolved = source.resolve(&platform()).await.unwrap();
    assert_eq!((resolved.digest, resolved.manifest_digest), (index.digest.clone(), amd.digest));
    let resolved = source.resolve(&"linux/arm64".parse().unwrap()).await.unwrap();
    assert_eq!((resolved.digest, resolved.manifest_digest), (index.digest, arm.digest));
}

#[tokio::test]
async fn without_a_platform_that_fits_the_error_lists_those_there_are() {
    let index = Index::new(Format::Oci)
        .image(&image("a").architecture("arm64").build())
        .image(&image("b").architecture("s390x").build())
        .build();
    let registry = started(&index);
    let error = open(&registry, "a/b:1").resolve(&platform()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("linux/amd64") && text.contains("linux/arm64, linux/s390x"), "{text}");
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn the_head_of_a_tag_is_its_digest() {
    let built = image("a").build();
    let registry = started(&built);
    assert_eq!(open(&registry, "a/b:1").head().await, Some(built.digest));
    assert_eq!(open(&registry, "a/b:2").head().await, None);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_asked_for_once() {
    let registry = started(&image("a").build());
    let error = open(&registry, "a/b:2").resolve(&platform()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains(&registry.host()), "{error}");
    assert_eq!(registry.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_means_that_the_registry_is_unavailable() {
    let port = berth_testkit::guard::free_port();
    let reference: ImageRef = format!("127.0.0.1:{port}/a:1").parse().unwrap();
    let source = Source::new(&Registry::new(config()), reference, Keyring::default()).unwrap();
    let error = source.resolve(&platform()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn debians_registry_serves_what_it_was_given() {
    let Some(neighbour) = neighbour::DockerRegistry::start() else { return };
    let built = image("hello").build();
    neighbour.push("some/repo", "1", &built).await;
    let reference: ImageRef = format!("{}/some/repo:1", neighbour.host).parse().unwrap();
    let source = Source::new(&Registry::new(config()), reference, Keyring::default()).unwrap();
    let resolved = source.resolve(&platform()).await.unwrap();
    assert_eq!(resolved.digest, built.digest);
    assert_eq!(source.head().await, Some(built.digest));
    let mut blob = crate::fetch::tests::Memory::default();
    let transfer =
        crate::fetch::Transfer { source: &source, blob: &resolved.manifest.layers[0], progress: |_| {} };
    transfer.run(0, &mut blob).await.map_err(|(_, e)| e).unwrap();
    assert_eq!(blob.digest(), resolved.manifest.layers[0].digest);
}

mod neighbour;
