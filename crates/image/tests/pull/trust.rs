//! Which images may be pulled: policies and signatures, beside skopeo's reading of the same files.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_image::trust::Place;
use berth_testkit::guard::has_program;
use berth_testkit::image::digest_of;
use berth_testkit::require;
use serde_json::json;

use super::*;

/// A registry, a store, and a directory with policies, keys and signatures.
pub(crate) struct Trust {
    pub(crate) scene: Scene,
    dir: tempfile::TempDir,
}

impl Drop for Trust {
    fn drop(&mut self) {
        drop(Command::new("gpgconf").arg("--homedir").arg(self.dir.path()).args(["--kill", "all"]).status());
    }
}

impl Trust {
    pub(crate) async fn new() -> Self {
        // Short: gpg's agent has a socket there.
        let dir = tempfile::Builder::new().prefix("t").tempdir_in("/tmp").unwrap();
        let path = |name: &str| dir.path().join(name);
        let trust = Place {
            file: path("policy.json"),
            dir: path("policies"),
            registries: path("registries.d"),
            required: false,
        };
        std::fs::create_dir(&trust.dir).unwrap();
        std::fs::create_dir(&trust.registries).unwrap();
        let scene = Scene::with(Auth::Open, Config { trust: Some(trust), ..config() }).await;
        let this = Self { scene, dir };
        let host = this.scene.registry.host();
        this.write(
            "registries.d/a.yaml",
            &format!(
                "docker:\n  {host}:\n    lookaside: file://{}\n    use-sigstore-attachments: true\n",
                this.path("lookaside").display()
            ),
        );
        this
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn push(&self, name: &str, content: &str) -> Built {
        let built = image(&[layer(content, 100)]);
        self.scene.registry.push(name, "1", &built);
        built
    }

    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.scene.registry.host())
    }

    pub(crate) async fn pull(&self, rest: &str) -> Result<(), String> {
        self.scene.pull(rest).await.map(drop).map_err(|e| berth_types::error::chain(&e))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.dir.path()).env("GNUPGHOME", self.dir.path());
        let output = command.output().unwrap();
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Whether skopeo copies an image under the same policy.
    fn skopeo(&self, rest: &str) -> Result<(), String> {
        let to = tempfile::tempdir().unwrap();
        let (policy, registries) = (self.path("policy.json"), self.path("registries.d"));
        let from = format!("docker://{}", self.name(rest));
        let to = format!("dir:{}", to.path().display());
        let (policy, registries) = (policy.to_str().unwrap(), registries.to_str().unwrap());
        let arguments = [
            "--policy",
            policy,
            "--registries.d",
            registries,
            "copy",
            "-q",
            "--src-tls-verify=false",
            &from,
            &to,
        ];
        self.run("skopeo", &arguments).map(drop)
    }

    /// What Berth decides, which skopeo has to decide too.
    pub(crate) async fn both(&self, rest: &str) -> Result<(), String> {
        let (ours, theirs) = (self.pull(rest).await, self.skopeo(rest));
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{rest}: {ours:?}, and skopeo: {theirs:?}");
        ours
    }

    pub(crate) fn policy(&self, requirements: &str) {
        self.write("policy.json", &format!(r#"{{"default": [{requirements}]}}"#));
    }

    /// Signs a manifest with a key of gpg, for the lookaside directory.
    pub(crate) fn sign(&self, key: &str, repository: &str, number: u32, name: &str, digest: &str) {
        let payload = payload("atomic container signature", name, digest);
        self.write("payload", &payload);
        let at =
            self.path(&format!("lookaside/{repository}@{}/signature-{number}", digest.replace(':', "=")));
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let at = at.to_str().unwrap();
        self.run("gpg", &["--batch", "--yes", "-u", key, "--output", at, "--sign", "payload"]).unwrap();
    }

    /// Attaches signatures of `keys` as cosign does.
    fn attach(&self, repository: &str, digest: &str, keys: &[&str], name: &str) {
        let payload = payload("cosign container image signature", name, digest);
        self.write("payload", &payload);
        let sum = digest_of(payload.as_bytes());
        let layers: Vec<_> = keys
            .iter()
            .map(|key| {
                let signed = self.run("openssl", &["dgst", "-sha256", "-sign", key, "payload"]).unwrap();
                json!({
                    "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                    "digest": sum.to_string(), "size": payload.len(),
                    "annotations": {"dev.cosignproject.cosign/signature": STANDARD.encode(signed)},
                })
            })
            .collect();
        let config = br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest_of(config).to_string(), "size": config.len(),
            },
            "layers": layers,
        });
        let registry = &self.scene.registry;
        registry.put_blob(repository, &sum, Content::Memory(payload.into()));
        registry.put_blob(repository, &digest_of(config), Content::Memory(config.to_vec().into()));
        let built = Built::document("application/vnd.oci.image.manifest.v1+json", &manifest);
        registry.push(repository, &format!("{}.sig", digest.replace(':', "-")), &built);
    }

    pub(crate) fn gpg_key(&self, name: &str) {
        let made = ["--batch", "--passphrase", "", "--quick-gen-key", name, "rsa2048", "sign", "never"];
        self.run("gpg", &made).unwrap();
        std::fs::write(self.path(&format!("{name}.gpg")), self.run("gpg", &["--export", name]).unwrap())
            .unwrap();
    }

    fn key(&self, name: &str) {
        let made = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", name];
        self.run("openssl", &made).unwrap();
        let public = format!("{name}.pub");
        self.run("openssl", &["pkey", "-in", name, "-pubout", "-out", &public]).unwrap();
    }

    pub(crate) fn signed_by(&self, name: &str, more: &str) -> String {
        let path = self.path(&format!("{name}.gpg"));
        format!(r#"{{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "{}"{more}}}"#, path.display())
    }

    fn sigstore(&self, name: &str, more: &str) -> String {
        let path = self.path(&format!("{name}.pub"));
        format!(r#"{{"type": "sigstoreSigned", "keyPath": "{}"{more}}}"#, path.display())
    }
}

fn payload(kind: &str, name: &str, digest: &str) -> String {
    json!({
        "critical": {
            "type": kind, "image": {"docker-manifest-digest": digest}, "identity": {"docker-reference": name},
        },
        "optional": {},
    })
    .to_string()
}

const ACCEPT: &str = r#"{"type": "insecureAcceptAnything"}"#;
const REPOSITORY: &str = r#", "signedIdentity": {"type": "matchRepository"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_decides_before_a_registry_is_asked() {
    if !root("a_policy_decides_before_a_registry_is_asked") {
        return;
    }
    let trust = Trust::new().await;
    trust.push("a/b", "x");
    // No file: as containerd does.
    trust.pull("a/b:1").await.unwrap();
    trust.scene.registry.clear_requests();
    trust.policy(r#"{"type": "reject"}"#);
    let error = trust.pull("a/b:1").await.unwrap_err();
    let file = trust.path("policy.json");
    let expected = format!(
        "{} is refused by the default in {}, requirement 1 (reject): it refuses every image",
        trust.name("a/b:1"),
        file.display()
    );
    assert_eq!(error, expected);
    std::fs::write(&file, "{").unwrap();
    assert!(trust.pull("a/b:1").await.unwrap_err().contains("line 1"));
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(trust.pull("a/b:1").await.unwrap_err().contains(file.to_str().unwrap()));
    assert!(trust.scene.registry.requests().is_empty());
    let kind = trust.scene.pull("a/b:1").await.unwrap_err().kind();
    assert_eq!(kind, Kind::Untrusted);
    // A namespace has its own.
    trust.write("policies/team.json", &format!(r#"{{"default": [{ACCEPT}]}}"#));
    let request = PullRequest { namespace: Some("team".into()), ..trust.scene.request("a/b:1") };
    trust.scene.puller.pull(request, Progress::none()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_skopeos() {
    if !root("scopes_are_skopeos") {
        return;
    }
    require!(has_program("skopeo"), "needs the package skopeo");
    let trust = Trust::new().await;
    for name in ["a/b", "a/bb", "a/b/c"] {
        trust.push(name, name);
    }
    let host = trust.scene.registry.host();
    for (scopes, accepted) in [
        (vec![("a/b", ACCEPT)], ["a/b:1", "a/b/c:1"].as_slice()),
        (vec![("a/b:1", ACCEPT)], &["a/b:1"]),
        (vec![("a", ACCEPT)], &["a/b:1", "a/bb:1", "a/b/c:1"]),
        (vec![("a", ACCEPT), ("a/b", r#"{"type": "reject"}"#)], &["a/bb:1"]),
    ] {
        let scopes: serde_json::Map<_, _> = scopes
            .into_iter()
            .map(|(scope, requirement)| {
                let requirement: serde_json::Value = serde_json::from_str(requirement).unwrap();
                (format!("{host}/{scope}"), json!([requirement]))
            })
            .collect();
        let policy = json!({"default": [{"type": "reject"}], "transports": {"docker": scopes}});
        trust.write("policy.json", &policy.to_string());
        for name in ["a/b:1", "a/bb:1", "a/b/c:1"] {
            let decided = trust.both(name).await;
            assert_eq!(decided.is_ok(), accepted.contains(&name), "{name}: {decided:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn simple_signing_is_skopeos() {
    if !root("simple_signing_is_skopeos") {
        return;
    }
    require!(has_program("skopeo") && has_program("gpg"), "needs the packages skopeo and gpg");
    let trust = Trust::new().await;
    trust.gpg_key("good");
    trust.gpg_key("other");
    let image = trust.push("a/b", "x").digest.to_string();
    let (name, by_digest) = (trust.name("a/b:1"), format!("a/b@{image}"));
    trust.policy(&trust.signed_by("good", ""));
    assert!(trust.both("a/b:1").await.unwrap_err().contains("it has no signature"));
    trust.sign("other", "a/b", 1, &name, &image);
    assert!(trust.both("a/b:1").await.unwrap_err().contains("none of the keys"));
    trust.sign("good", "a/b", 2, &name, &image);
    trust.both("a/b:1").await.unwrap();
    trust.both(&by_digest).await.unwrap();
    // Both are wanted, and there.
    trust.policy(&format!("{}, {}", trust.signed_by("good", ""), trust.signed_by("other", "")));
    trust.both("a/b:1").await.unwrap();
    trust.policy(&trust.signed_by("good", r#", "signedIdentity": {"type": "matchExact"}"#));
    trust.both("a/b:1").await.unwrap();
    assert!(trust.both(&by_digest).await.unwrap_err().contains("matchExact"));
    // A tag that moved: the signature is that of another manifest.
    trust.policy(&trust.signed_by("good", ""));
    let moved = trust.push("a/b", "moved").digest.to_string();
    trust.both("a/b:1").await.unwrap_err();
    let lookaside = trust.path("lookaside/a");
    let of = |digest: &str| lookaside.join(format!("b@{}", digest.replace(':', "=")));
    std::fs::create_dir_all(of(&moved)).unwrap();
    std::fs::copy(of(&image).join("signature-2"), of(&moved).join("signature-1")).unwrap();
    assert!(trust.both("a/b:1").await.unwrap_err().contains("and the manifest is"));
    // Signed as another name.
    trust.sign("good", "a/b", 1, "vendor.example/product:1", &moved);
    assert!(trust.both("a/b:1").await.unwrap_err().contains("does not take"));
    let exact =
        r#", "signedIdentity": {"type": "exactRepository", "dockerRepository": "vendor.example/product"}"#;
    trust.policy(&trust.signed_by("good", exact));
    trust.both("a/b:1").await.unwrap();
    let (prefix, vendor) = (trust.name("a/b"), "vendor.example/product");
    let remap = format!(
        r#", "signedIdentity": {{"type": "remapIdentity", "prefix": "{prefix}", "signedPrefix": "{vendor}"}}"#
    );
    let remapped = trust.signed_by("good", &remap);
    trust.policy(&remapped);
    trust.both("a/b:1").await.unwrap();
    // Of an index the platform's manifest has to be signed.
    let index = Index::new(Format::Oci).image(&super::image(&[layer("x", 100)])).build();
    trust.scene.registry.push("a/index", "1", &index);
    trust.policy(&trust.signed_by("good", ""));
    let name = trust.name("a/index:1");
    trust.sign("good", "a/index", 1, &name, &index.digest.to_string());
    assert!(trust.both("a/index:1").await.unwrap_err().contains("it has no signature"));
    trust.sign("good", "a/index", 1, &name, &image);
    trust.both("a/index:1").await.unwrap();
    trust.both(&format!("a/index@{}", index.digest)).await.unwrap();
    trust.policy(&remapped);
    std::fs::write(of(&moved).join("signature-1"), "no signature").unwrap();
    trust.both("a/b:1").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_skopeo_signs_is_accepted() {
    if !root("what_skopeo_signs_is_accepted") {
        return;
    }
    require!(has_program("skopeo") && has_program("gpg"), "needs the packages skopeo and gpg");
    let trust = Trust::new().await;
    trust.gpg_key("good");
    let built = trust.push("a/b", "x");
    let (name, digest) = (trust.name("a/b:1"), built.digest.to_string());
    std::fs::write(trust.path("manifest"), &built.manifest).unwrap();
    let at = trust.path(&format!("lookaside/a/b@{}/signature-1", digest.replace(':', "=")));
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    let listed =
        String::from_utf8(trust.run("gpg", &["--with-colons", "--list-keys", "good"]).unwrap()).unwrap();
    let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':');
    let sign = ["standalone-sign", "-o", at.to_str().unwrap(), "manifest", &name, fingerprint];
    trust.run("skopeo", &sign).unwrap();
    trust.policy(&trust.signed_by("good", ""));
    trust.both("a/b:1").await.unwrap();
    trust.push("a/b", "other");
    trust.both("a/b:1").await.unwrap_err();
}

/// Debian's skopeo is built without sigstore.
#[tokio::test(flavor = "multi_thread")]
async fn attached_signatures_decide() {
    if !root("attached_signatures_decide") {
        return;
    }
    require!(has_program("openssl"), "needs openssl");
    let trust = Trust::new().await;
    trust.key("good");
    trust.key("other");
    let image = trust.push("a/b", "x").digest.to_string();
    let name = trust.name("a/b");
    trust.policy(&trust.sigstore("good", REPOSITORY));
    assert!(trust.pull("a/b:1").await.unwrap_err().contains("it has no signature"));
    trust.attach("a/b", &image, &["other"], &name);
    assert!(trust.pull("a/b:1").await.unwrap_err().contains("fits none of the keys"));
    trust.attach("a/b", &image, &["other", "good"], &name);
    trust.pull("a/b:1").await.unwrap();
    // cosign names the repository alone.
    trust.policy(&trust.sigstore("good", ""));
    assert!(trust.pull("a/b:1").await.unwrap_err().contains("does not take"));
    trust.attach("a/b", &image, &["good"], &trust.name("a/b:1"));
    trust.pull("a/b:1").await.unwrap();
    // Of an index the platform's manifest has to be signed.
    let index = Index::new(Format::Oci).image(&super::image(&[layer("x", 100)])).build();
    trust.scene.registry.push("a/index", "1", &index);
    trust.policy(&trust.sigstore("good", REPOSITORY));
    let index_digest = index.digest.to_string();
    trust.attach("a/index", &index_digest, &["good"], &trust.name("a/index"));
    assert!(trust.pull("a/index:1").await.unwrap_err().contains("it has no signature"));
    trust.attach("a/index", &image, &["good"], &trust.name("a/index"));
    trust.pull("a/index:1").await.unwrap();
    // The registry says so, or nobody looks.
    trust.write("registries.d/a.yaml", "docker: {}\n");
    assert!(trust.pull("a/b:1").await.unwrap_err().contains("it has no signature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_that_cannot_be_fetched_refuse() {
    if !root("signatures_that_cannot_be_fetched_refuse") {
        return;
    }
    require!(has_program("openssl"), "needs openssl");
    let trust = Trust::new().await;
    trust.key("good");
    let image = trust.push("a/b", "x").digest.to_string();
    trust.policy(&trust.sigstore("good", REPOSITORY));
    trust.attach("a/b", &image, &["good"], &trust.name("a/b"));
    trust.pull("a/b:1").await.unwrap();
    let registry = &trust.scene.registry;
    let sum = digest_of(&std::fs::read(trust.path("payload")).unwrap());
    // Another payload under the name of the signed one.
    registry.put_blob(
        "a/b",
        &sum,
        Content::Memory(vec![b'x'; std::fs::read(trust.path("payload")).unwrap().len()].into()),
    );
    assert!(trust.pull("a/b:1").await.unwrap_err().contains("has digest"));
    registry.remove_blob("a/b", &sum);
    trust.pull("a/b:1").await.unwrap_err();
    let tag = format!("{}.sig", image.replace(':', "-"));
    registry.push("a/b", &tag, &Built::document("text/html", &json!({})));
    assert!(trust.pull("a/b:1").await.unwrap_err().contains("text/html"));
    registry.untag("a/b", &tag);
    let closed = berth_testkit::guard::free_port();
    let text = format!("docker:\n  {}:\n    lookaside: http://127.0.0.1:{closed}\n", registry.host());
    trust.write("registries.d/a.yaml", &text);
    let error = trust.pull("a/b:1").await.unwrap_err();
    assert!(error.contains(&format!("http://127.0.0.1:{closed}/a/b@sha256=")), "{error}");
    trust.write("registries.d/a.yaml", "docker:\n  a.io: {lookasides: x}\n");
    assert!(trust.pull("a/b:1").await.unwrap_err().contains("a.yaml"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_is_decided_by_the_namespaces_policy() {
    if !root("what_is_here_is_decided_by_the_namespaces_policy") {
        return;
    }
    require!(has_program("openssl"), "needs openssl");
    let trust = Trust::new().await;
    trust.key("good");
    let digest = trust.push("a/b", "x").digest.to_string();
    trust.attach("a/b", &digest, &["good"], &trust.name("a/b"));
    let name = trust.name("a/b:1");
    let pulled = trust.scene.pull("a/b:1").await.unwrap();
    let use_it = |namespace: &str| {
        let (images, places) = (&trust.scene.store.images, trust.scene.puller.registry().places());
        berth_image::pull::may_use(images, &places, namespace, &name, &pulled).map_err(|e| e.to_string())
    };
    use_it("team").unwrap();
    trust.write("policies/none.json", r#"{"default": [{"type": "reject"}]}"#);
    assert!(use_it("none").unwrap_err().contains("none.json, requirement 1 (reject)"));
    trust.write("policies/team.json", &format!(r#"{{"default": [{}]}}"#, trust.sigstore("good", REPOSITORY)));
    // Nobody has looked for signatures when it was pulled.
    assert!(use_it("team").unwrap_err().contains("it has no signature"));
    let request = PullRequest { namespace: Some("team".into()), ..trust.scene.request("a/b:1") };
    trust.scene.puller.pull(request, Progress::none()).await.unwrap();
    use_it("team").unwrap();
    trust.key("other");
    trust
        .write("policies/team.json", &format!(r#"{{"default": [{}]}}"#, trust.sigstore("other", REPOSITORY)));
    assert!(use_it("team").unwrap_err().contains("fits none of the keys"));
    assert!(use_it("../policies/none").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_decided_by_their_transports() {
    if !root("archives_are_decided_by_their_transports") {
        return;
    }
    let trust = Trust::new().await;
    trust.push("a/b", "x");
    let pulled = trust.scene.pull("a/b:1").await.unwrap();
    let path = trust.path("saved.tar");
    let names = [pulled.tags[0].clone()];
    trust.scene.store.images.save(&names, std::fs::File::create(&path).unwrap()).await.unwrap();
    let load = |requirement: &str| {
        let text = format!(
            r#"{{"default": [{{"type": "reject"}}], "transports": {{"oci-archive": {{"": [{requirement}]}}}}}}"#
        );
        let policy = berth_image::trust::Policy::parse(Path::new("/p.json"), text.as_bytes()).unwrap();
        trust.scene.store.images.load_by(Some(policy), std::fs::File::open(&path).unwrap(), |_| {})
    };
    load(ACCEPT).await.unwrap();
    let error = load(r#"{"type": "reject"}"#).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Untrusted);
    assert!(error.to_string().contains(r#"the scope oci-archive "" in /p.json"#), "{error}");
}
