//! sigstore's signatures, with keys, an authority like Fulcio's and a log like Rekor's by openssl.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_testkit::guard::has_program;
use berth_testkit::require;
use berth_trust::Signature;
use sha2::{Digest as _, Sha256};

use super::openssl::Openssl;
use super::{DIGEST, NAME, decide, decide_of, payload};

const KIND: &str = "cosign container image signature";
const ISSUER: &str = "https://issuer.example";
const LEAF: &str = "basicConstraints=CA:false\nextendedKeyUsage=codeSigning\nsubjectAltName=critical,email:me@example.com,DNS:host.example.com\n1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:https://issuer.example\n";

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A signature to be, part by part.
#[derive(Clone)]
struct Parts {
    payload: String,
    annotations: BTreeMap<String, String>,
}

impl Parts {
    fn of(openssl: &Openssl, key: &str, payload: String) -> Self {
        let signature = STANDARD.encode(openssl.sign(key, payload.as_bytes()));
        let annotations = [("dev.cosignproject.cosign/signature".to_owned(), signature)].into();
        Self { payload, annotations }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(name.to_owned(), value.into());
        self
    }

    fn certified(self, openssl: &Openssl, name: &str) -> Self {
        self.with("dev.sigstore.cosign/certificate", openssl.text(&format!("{name}.crt")))
    }

    /// With the log's promise of an entry.
    fn logged(self, openssl: &Openssl, signer: &str, time: u64) -> Self {
        let signature = &self.annotations["dev.cosignproject.cosign/signature"];
        let sum: String = Sha256::digest(&self.payload).iter().map(|byte| format!("{byte:02x}")).collect();
        let entry = format!(
            r#"{{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{{"algorithm":"sha256","value":"{sum}"}}}},"signature":{{"content":"{signature}","publicKey":{{"content":"{}"}}}}}}}}"#,
            STANDARD.encode(openssl.text(signer)),
        );
        let bundle = promise(openssl, &entry, time);
        self.with("dev.sigstore.cosign/bundle", bundle)
    }

    fn signature(&self) -> Signature {
        Signature::Sigstore { payload: self.payload.clone().into(), annotations: self.annotations.clone() }
    }
}

fn promise(openssl: &Openssl, entry: &str, time: u64) -> String {
    let body = STANDARD.encode(entry);
    let canonical = format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"c0ffee","logIndex":7}}"#);
    let signed = STANDARD.encode(openssl.sign("rekor", canonical.as_bytes()));
    // In another order and with spaces: what is signed is the canonical form.
    format!(
        r#"{{"SignedEntryTimestamp": "{signed}", "Payload": {{"logIndex": 7, "logID": "c0ffee", "integratedTime": {time}, "body": "{body}"}}}}"#
    )
}

fn own(openssl: &Openssl, key: &str) -> Parts {
    Parts::of(openssl, key, payload(KIND, NAME, DIGEST))
}

/// Refused with these words.
fn refused(requirement: &str, parts: &Parts, words: &str) {
    let error = decide(requirement, &[parts.signature()]).unwrap_err();
    assert!(error.contains("requirement 1 (sigstoreSigned)") && error.contains(words), "{words}: {error}");
}

#[test]
fn keys_of_each_algorithm_verify_what_openssl_signs() {
    require!(has_program("openssl"), "needs openssl");
    let openssl = Openssl::new();
    openssl.key("other", "ec:P-256");
    for (name, kind) in [("a", "ec:P-256"), ("b", "ec:P-384"), ("c", "rsa"), ("d", "ed25519")] {
        openssl.key(name, kind);
        let path = openssl.path(&format!("{name}.pub"));
        let requirement = format!(r#"{{"type": "sigstoreSigned", "keyPath": "{}"}}"#, path.display());
        let good = own(&openssl, name);
        assert_eq!(decide(&requirement, &[good.signature()]), Ok(()), "{kind}");
        refused(&requirement, &own(&openssl, "other"), "fits none of the keys");
        let mut changed = good.clone();
        changed.payload.push(' ');
        refused(&requirement, &changed, "fits none of the keys");
        let both = [own(&openssl, "other").signature(), good.signature()];
        assert_eq!(decide(&requirement, &both), Ok(()), "{kind}");
    }
    let key = STANDARD.encode(openssl.text("a.pub"));
    let other = STANDARD.encode(openssl.text("other.pub"));
    let datas = format!(r#"{{"type": "sigstoreSigned", "keyDatas": ["{other}", "{key}"]}}"#);
    assert_eq!(decide(&datas, &[own(&openssl, "a").signature()]), Ok(()));
    openssl.key("p521", "ec:P-521");
    let path = openssl.path("p521.pub");
    let requirement = format!(r#"{{"type": "sigstoreSigned", "keyPath": "{}"}}"#, path.display());
    refused(&requirement, &own(&openssl, "a"), "not supported");
    let missing = r#"{"type": "sigstoreSigned", "keyPath": "/nonexistent/key"}"#;
    refused(missing, &own(&openssl, "a"), "read /nonexistent/key");
}

#[test]
fn what_is_signed_is_the_image_or_the_image_is_refused() {
    require!(has_program("openssl"), "needs openssl");
    let openssl = Openssl::new();
    openssl.key("a", "ec:P-256");
    let path = openssl.path("a.pub");
    let requirement = format!(r#"{{"type": "sigstoreSigned", "keyPath": "{}"}}"#, path.display());
    let of = |kind: &str, name: &str, digest: &str| Parts::of(&openssl, "a", payload(kind, name, digest));
    refused(&requirement, &of(KIND, NAME, &DIGEST.replace("0123", "1123")), "and the manifest is");
    refused(&requirement, &of(KIND, "a.io/b/c:2", DIGEST), "does not take");
    refused(&requirement, &of(KIND, "a.io/b/c", DIGEST), "does not take");
    refused(&requirement, &of("atomic container signature", NAME, DIGEST), "critical.type");
    refused(&requirement, &Parts { payload: String::new(), annotations: BTreeMap::new() }, "is missing");
    let good = of(KIND, NAME, DIGEST);
    let lines = format!("{}\n", good.annotations["dev.cosignproject.cosign/signature"]);
    let lines = good.with("dev.cosignproject.cosign/signature", lines);
    assert_eq!(decide(&requirement, &[lines.signature()]), Ok(()));
    // cosign signs repositories.
    let repository = format!(
        r#"{{"type": "sigstoreSigned", "keyPath": "{}", "signedIdentity": {{"type": "matchRepository"}}}}"#,
        path.display()
    );
    assert_eq!(decide(&repository, &[of(KIND, "a.io/b/c", DIGEST).signature()]), Ok(()));
    let by_digest = format!("a.io/b/c@{DIGEST}");
    let signature = [of(KIND, NAME, DIGEST).signature()];
    assert_eq!(decide_of(&requirement, &signature, &by_digest, SystemTime::now()), Ok(()));
    let error = decide(&requirement, &[Signature::Simple(vec![0x90])]).unwrap_err();
    assert!(error.contains("no signature of this kind (1 of another)"), "{error}");
}

#[test]
fn the_log_vouches_for_one_signature_of_one_payload_by_one_key() {
    require!(has_program("openssl"), "needs openssl");
    let openssl = Openssl::new();
    for name in ["a", "b", "rekor"] {
        openssl.key(name, "ec:P-256");
    }
    let requirement = format!(
        r#"{{"type": "sigstoreSigned", "keyPaths": ["{}", "{}"], "rekorPublicKeyPath": "{}"}}"#,
        openssl.path("b.pub").display(),
        openssl.path("a.pub").display(),
        openssl.path("rekor.pub").display()
    );
    let good = own(&openssl, "a").logged(&openssl, "a.pub", now());
    assert_eq!(decide(&requirement, &[good.signature()]), Ok(()));
    refused(&requirement, &own(&openssl, "a"), "dev.sigstore.cosign/bundle is missing");
    let bundle = good.annotations["dev.sigstore.cosign/bundle"].clone();
    // The promise of another signature of the same payload by the same key.
    refused(
        &requirement,
        &own(&openssl, "a").with("dev.sigstore.cosign/bundle", &bundle),
        "another signature",
    );
    refused(&requirement, &own(&openssl, "a").logged(&openssl, "rekor.pub", now()), "another key");
    let later = bundle.replace(r#""integratedTime": "#, r#""integratedTime": 1"#);
    refused(&requirement, &good.clone().with("dev.sigstore.cosign/bundle", later), "not signed by the log");
    let more = bundle.replace(r#""logIndex""#, r#""more": 1, "logIndex""#);
    refused(&requirement, &good.clone().with("dev.sigstore.cosign/bundle", more), "\"more\" is unknown");
    let twice = bundle.replace(r#""logIndex""#, r#""logIndex": 7, "logIndex""#);
    refused(&requirement, &good.clone().with("dev.sigstore.cosign/bundle", twice), "is there twice");
    // What the log holds may be of another kind.
    let entry = r#"{"apiVersion":"0.0.1","kind":"intoto","spec":{}}"#;
    let other = promise(&openssl, entry, now());
    refused(&requirement, &good.clone().with("dev.sigstore.cosign/bundle", other), "is not \"hashedrekord\"");
    let other = good.clone().logged(&openssl, "a.pub", now());
    let mut other = other;
    other.payload = payload(KIND, NAME, &DIGEST.replace("0123", "1123"));
    refused(&requirement, &other, "another payload");
}

fn fulcio(openssl: &Openssl, more: &str) -> String {
    format!(
        r#"{{"type": "sigstoreSigned", "rekorPublicKeyPath": "{}", "fulcio": {{"caPath": "{}", "oidcIssuer": "{ISSUER}", "subjectEmail": "me@example.com"}}{more}}}"#,
        openssl.path("rekor.pub").display(),
        openssl.path("root.crt").display()
    )
}

#[test]
fn a_certificate_counts_at_the_time_of_the_log_for_one_person() {
    require!(has_program("openssl"), "needs openssl");
    let openssl = Openssl::new();
    openssl.key("rekor", "ec:P-256");
    openssl.root("root", 100);
    openssl.root("stranger", 100);
    let leaf = |name: &str, issuer: &str, extensions: &str| {
        openssl.key(name, "ec:P-256");
        openssl.certificate(name, issuer, extensions, 1);
    };
    let signed = |name: &str, time: u64| {
        own(&openssl, name).certified(&openssl, name).logged(&openssl, &format!("{name}.crt"), time)
    };
    let requirement = fulcio(&openssl, "");
    leaf("good", "root", LEAF);
    let good = signed("good", now() + 60);
    assert_eq!(decide(&requirement, &[good.signature()]), Ok(()));
    // Long after the certificate has ended, the log's word still proves when it was used.
    let late = SystemTime::now() + Duration::from_secs(10 * 86_400);
    assert_eq!(decide_of(&requirement, &[good.signature()], NAME, late), Ok(()));
    refused(&requirement, &signed("good", now() + 2 * 86_400), "no root vouches");
    refused(&requirement, &signed("good", now() - 86_400), "no root vouches");
    refused(&requirement, &signed("good", now() + 200 * 86_400), "no root vouches");
    leaf("strange", "stranger", LEAF);
    refused(&requirement, &signed("strange", now() + 60), "no root vouches");
    leaf("email", "root", &LEAF.replace("me@", "you@"));
    refused(&requirement, &signed("email", now() + 60), "not for \"me@example.com\"");
    leaf("none", "root", "extendedKeyUsage=codeSigning\nsubjectAltName=email:me@example.com\n");
    refused(&requirement, &signed("none", now() + 60), "names no issuer");
    leaf("issuer", "root", &LEAF.replace(ISSUER, "https://issuer.example.evil"));
    refused(&requirement, &signed("issuer", now() + 60), "on the word of");
    leaf("usage", "root", &LEAF.replace("codeSigning", "clientAuth"));
    refused(&requirement, &signed("usage", now() + 60), "not for signing code");
    let mut other = good.clone().certified(&openssl, "email");
    refused(&requirement, &other, "another key or certificate");
    other.annotations.remove("dev.sigstore.cosign/certificate");
    refused(&requirement, &other, "certificate is missing");
    // A certificate by one who has one: only authorities give them.
    leaf("below", "good", LEAF);
    let below = signed("below", now() + 60).with("dev.sigstore.cosign/chain", openssl.text("good.crt"));
    refused(&requirement, &below, "no root vouches");
}

#[test]
fn an_intermediate_authority_comes_with_the_signature() {
    require!(has_program("openssl"), "needs openssl");
    let openssl = Openssl::new();
    openssl.key("rekor", "ec:P-256");
    openssl.root("root", 100);
    openssl.key("middle", "ec:P-384");
    openssl.certificate(
        "middle",
        "root",
        "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign\n",
        50,
    );
    openssl.key("leaf", "ec:P-256");
    openssl.certificate("leaf", "middle", LEAF, 1);
    let alone = own(&openssl, "leaf").certified(&openssl, "leaf").logged(&openssl, "leaf.crt", now() + 60);
    let chain = format!("{}{}", openssl.text("middle.crt"), openssl.text("root.crt"));
    refused(&fulcio(&openssl, ""), &alone, "no root vouches");
    assert_eq!(
        decide(&fulcio(&openssl, ""), &[alone.clone().with("dev.sigstore.cosign/chain", chain).signature()]),
        Ok(())
    );

    // A company's own authority, without a log: the certificate has to be valid now.
    let pki = |more: &str| {
        format!(
            r#"{{"type": "sigstoreSigned", "pki": {{"caRootsPath": "{}", "caIntermediatesPath": "{}", {more}}}}}"#,
            openssl.path("root.crt").display(),
            openssl.path("middle.crt").display()
        )
    };
    let (email, host) = (r#""subjectEmail": "me@example.com""#, r#""subjectHostname": "host.example.com""#);
    assert_eq!(decide(&pki(email), &[alone.signature()]), Ok(()));
    assert_eq!(decide(&pki(&format!("{email}, {host}")), &[alone.signature()]), Ok(()));
    refused(&pki(r#""subjectHostname": "other.example.com""#), &alone, "not for other.example.com");
    let late = SystemTime::now() + Duration::from_secs(10 * 86_400);
    assert!(
        decide_of(&pki(email), &[alone.signature()], NAME, late).unwrap_err().contains("no root vouches")
    );
}
