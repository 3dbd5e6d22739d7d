//! From JSON to a policy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Keys, MAX_KEYS, MAX_REQUIREMENTS, Policy, Requirement, Signer};
use crate::identity::{self, Identity};
use crate::json::{Fields, Problem, Value, below};

/// The whole file.
pub(super) fn policy(path: &Path, value: Value) -> Result<Policy, Problem> {
    let mut fields = Fields::of(value, "")?;
    let default = requirements(fields.need("default")?, "default")?;
    let mut transports = BTreeMap::new();
    if let Some(value) = fields.take("transports") {
        for (transport, value) in value.object("transports")? {
            let place = below("transports", &transport);
            let scopes = scopes(&transport, value, &place)?;
            transports.insert(transport, scopes);
        }
    }
    fields.end()?;
    Ok(Policy { path: path.to_owned(), default, transports })
}

fn scopes(transport: &str, value: Value, place: &str) -> Result<BTreeMap<String, Vec<Requirement>>, Problem> {
    let mut scopes = BTreeMap::new();
    for (scope, value) in value.object(place)? {
        let place = below(place, &scope);
        if transport == "docker"
            && let Some(why) = unmatched(&scope)
        {
            return Err(Problem::new(place, why));
        }
        let requirements = requirements(value, &place)?;
        let scope = if transport == "docker" { lower_host(&scope) } else { scope };
        if scopes.insert(scope, requirements).is_some() {
            return Err(Problem::new(place, "the same host is there twice, in capitals and without"));
        }
    }
    Ok(scopes)
}

/// Hosts are the same in capitals, and a rule must not be avoided by writing them.
fn lower_host(scope: &str) -> String {
    let (host, rest) = scope.split_at(scope.find('/').unwrap_or(scope.len()));
    host.to_ascii_lowercase() + rest
}

/// Why no image could have this scope: a rule that is silently ignored would be a hole.
fn unmatched(scope: &str) -> Option<String> {
    if scope.is_empty() {
        return None;
    }
    let wildcard = scope.strip_prefix("*.");
    if wildcard.unwrap_or(scope).contains('*') {
        return Some("only \"*.\" at the beginning stands for other names".to_owned());
    }
    if wildcard.is_some_and(|host| host.contains(['/', ':', '@']) || host.is_empty()) {
        return Some("what follows \"*.\" is a host's name, without port and path".to_owned());
    }
    if scope.ends_with(['/', ':', '@']) {
        return Some("it ends in a separator, so that no image is in it".to_owned());
    }
    let host = scope.split('/').next().unwrap_or_default();
    let is_host =
        host == "localhost" || host.contains(['.', ':']) || host.bytes().any(|b| b.is_ascii_uppercase());
    (!is_host).then(|| {
        format!("it begins with no registry's host; short names are written in full, as in \"docker.io/library/{scope}\"")
    })
}

fn requirements(value: Value, place: &str) -> Result<Vec<Requirement>, Problem> {
    let list = value.list(place)?;
    if list.is_empty() || list.len() > MAX_REQUIREMENTS {
        let why = format!("expected 1 to {MAX_REQUIREMENTS} requirements, found {}", list.len());
        return Err(Problem::new(place, why));
    }
    let one = |(index, value)| requirement(value, &format!("{place}[{index}]"));
    list.into_iter().enumerate().map(one).collect()
}

fn requirement(value: Value, place: &str) -> Result<Requirement, Problem> {
    let mut fields = Fields::of(value, place)?;
    let kind = fields.need_text("type")?;
    let requirement = match kind.as_str() {
        "insecureAcceptAnything" => Requirement::Accept,
        "reject" => Requirement::Reject,
        "signedBy" => signed_by(&mut fields, place)?,
        "sigstoreSigned" => sigstore(&mut fields, place)?,
        other => {
            let other: String = other.chars().take(64).collect();
            let known = "insecureAcceptAnything, reject, signedBy and sigstoreSigned";
            return Err(Problem::new(fields.place("type"), format!("{other:?} is none of {known}")));
        }
    };
    fields.end()?;
    Ok(requirement)
}

fn signed_by(fields: &mut Fields, place: &str) -> Result<Requirement, Problem> {
    let kind = fields.need_text("keyType")?;
    if kind != "GPGKeys" {
        let why =
            format!("{:?} is not supported, only \"GPGKeys\" is", kind.chars().take(64).collect::<String>());
        return Err(Problem::new(fields.place("keyType"), why));
    }
    let keys = keys(fields, ["keyPath", "keyPaths", "keyData", ""])?;
    let keys = keys.ok_or_else(|| Problem::new(place, "one of keyPath, keyPaths and keyData is needed"))?;
    Ok(Requirement::SignedBy { keys, identity: identity(fields)? })
}

fn sigstore(fields: &mut Fields, place: &str) -> Result<Requirement, Problem> {
    let keys_given = keys(fields, ["keyPath", "keyPaths", "keyData", "keyDatas"])?;
    let fulcio_place = fields.place("fulcio");
    let fulcio = fields.take("fulcio").map(|value| fulcio(value, &fulcio_place)).transpose()?;
    let pki_place = fields.place("pki");
    let pki = fields.take("pki").map(|value| pki(value, &pki_place)).transpose()?;
    let log = keys(
        fields,
        ["rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas"],
    )?;
    let mut signers = keys_given.map(Signer::Keys).into_iter().chain(fulcio).chain(pki);
    let (Some(signer), None) = (signers.next(), signers.next()) else {
        let why = "exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki is needed";
        return Err(Problem::new(place, why));
    };
    match (&signer, &log) {
        (Signer::Fulcio { .. }, None) => {
            let why = "fulcio needs a Rekor key: without the log's time the certificate's is not known";
            return Err(Problem::new(place, why));
        }
        (Signer::Pki { .. }, Some(_)) => return Err(Problem::new(place, "pki has no Rekor keys")),
        _ => {}
    }
    Ok(Requirement::Sigstore { signer, log, identity: identity(fields)? })
}

fn fulcio(value: Value, place: &str) -> Result<Signer, Problem> {
    let mut fields = Fields::of(value, place)?;
    let authority = keys(&mut fields, ["caPath", "", "caData", ""])?;
    let authority = authority.ok_or_else(|| Problem::new(place, "one of caPath and caData is needed"))?;
    let (issuer, email) = (fields.need_text("oidcIssuer")?, fields.need_text("subjectEmail")?);
    fields.end()?;
    Ok(Signer::Fulcio { authority, issuer, email })
}

fn pki(value: Value, place: &str) -> Result<Signer, Problem> {
    let mut fields = Fields::of(value, place)?;
    let roots = keys(&mut fields, ["caRootsPath", "", "caRootsData", ""])?;
    let roots = roots.ok_or_else(|| Problem::new(place, "one of caRootsPath and caRootsData is needed"))?;
    let intermediates = keys(&mut fields, ["caIntermediatesPath", "", "caIntermediatesData", ""])?;
    let (email, hostname) = (fields.text("subjectEmail")?, fields.text("subjectHostname")?);
    if email.is_none() && hostname.is_none() {
        return Err(Problem::new(place, "one of subjectEmail and subjectHostname is needed"));
    }
    fields.end()?;
    Ok(Signer::Pki { roots, intermediates, email, hostname })
}

/// Keys by four names of fields, of which one may be there: a path, paths, data, several pieces of data.
fn keys(fields: &mut Fields, names: [&'static str; 4]) -> Result<Option<Keys>, Problem> {
    let mut given = Vec::new();
    for (index, name) in names.into_iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        let place = fields.place(name);
        let Some(value) = fields.take(name) else { continue };
        let values = if index % 2 == 1 { value.list(&place)? } else { vec![value] };
        if values.is_empty() || values.len() > MAX_KEYS {
            let why = format!("expected 1 to {MAX_KEYS} keys, found {}", values.len());
            return Err(Problem::new(place, why));
        }
        let keys = match index {
            0 | 1 => {
                let path = |value: Value| file(value.text(&place)?, &place);
                Keys::Files(values.into_iter().map(path).collect::<Result<_, _>>()?)
            }
            _ => Keys::Here(values.into_iter().map(|value| value.bytes(&place)).collect::<Result<_, _>>()?),
        };
        given.push((place, keys));
    }
    match given.len() {
        0 | 1 => Ok(given.pop().map(|(_, keys)| keys)),
        _ => {
            let (place, _) = given.swap_remove(1);
            let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
            Err(Problem::new(place, format!("only one of {} may be there", names.join(", "))))
        }
    }
}

/// What a relative path would be relative to depends on who reads the policy.
fn file(path: String, place: &str) -> Result<PathBuf, Problem> {
    match path.starts_with('/') {
        true => Ok(path.into()),
        false => Err(Problem::new(place, "expected an absolute path")),
    }
}

fn identity(fields: &mut Fields) -> Result<Identity, Problem> {
    let place = fields.place("signedIdentity");
    let Some(value) = fields.take("signedIdentity") else { return Ok(Identity::RepoDigestOrExact) };
    let mut fields = Fields::of(value, &place)?;
    let kind = fields.need_text("type")?;
    let wrong = |key: &str, why: String| Problem::new(below(&place, key), why);
    let identity = match kind.as_str() {
        "matchExact" => Identity::Exact,
        "matchRepoDigestOrExact" => Identity::RepoDigestOrExact,
        "matchRepository" => Identity::Repository,
        "exactReference" => {
            let name = fields.need_text("dockerReference")?;
            let name = identity::exact(&name).map_err(|why| wrong("dockerReference", why))?;
            Identity::ExactReference(name)
        }
        "exactRepository" => {
            let name = fields.need_text("dockerRepository")?;
            let name = identity::repository(&name).map_err(|why| wrong("dockerRepository", why))?;
            Identity::ExactRepository(name)
        }
        "remapIdentity" => {
            let (prefix, signed) = (fields.need_text("prefix")?, fields.need_text("signedPrefix")?);
            identity::prefix(&prefix).map_err(|why| wrong("prefix", why))?;
            identity::prefix(&signed).map_err(|why| wrong("signedPrefix", why))?;
            Identity::Remap { prefix, signed }
        }
        other => {
            let other: String = other.chars().take(64).collect();
            return Err(wrong("type", format!("{other:?} is not known")));
        }
    };
    fields.end()?;
    Ok(identity)
}
