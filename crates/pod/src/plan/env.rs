//! The variables of a container, as the kubelet makes them: those of `envFrom` first, then those of `env`, of which each
//! may refer to the ones before it. A later one of the same name wins.

use std::collections::BTreeMap;

use super::expand::expand;
use super::facts::Facts;
use super::{Fault, Faults, env_file, wrong};
use crate::manifest::{
    Container, Entry, EnvFromSource, EnvVar, EnvVarSource, KeySelector, Object, ObjectKind,
};

/// Variables in the order in which they were set.
#[derive(Debug, Default)]
pub(super) struct Variables {
    order: Vec<String>,
    pub(super) values: BTreeMap<String, String>,
}

impl Variables {
    fn set(&mut self, name: String, value: String) {
        if self.values.insert(name.clone(), value).is_none() {
            self.order.push(name);
        }
    }

    pub(super) fn list(&self) -> Vec<berth_engine::model::EnvVar> {
        let of = |name: &String| berth_engine::model::EnvVar {
            name: name.clone(),
            value: self.values[name].clone().into_bytes(),
        };
        self.order.iter().map(of).collect()
    }
}

/// The variables of a container, whose path in the manifest is `at`.
pub(super) fn environment(facts: &Facts<'_>, from: &Container, at: &str, faults: &mut Faults) -> Variables {
    let mut variables = Variables::default();
    for (index, source) in from.env_from.iter().enumerate() {
        let all = whole(facts, source, &format!("{at}.envFrom[{index}]"));
        for (name, value) in faults.take(all).unwrap_or_default() {
            variables.set(name, value);
        }
    }
    for (index, env) in from.env.iter().enumerate() {
        let at = format!("{at}.env[{index}]");
        faults.take(variable_name(&format!("{at}.name"), &env.name));
        let value = value(facts, from, env, &at, &variables.values);
        if let Some(value) = faults.take(value).flatten() {
            variables.set(env.name.clone(), value);
        }
    }
    variables
}

/// Any printable ASCII but `=`, since Kubernetes 1.34.
fn variable_name(at: &str, name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(wrong(at, "Required value"));
    }
    let ok = name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=');
    let reason = "a variable's name is printable ASCII without '='";
    ok.then_some(()).ok_or_else(|| wrong(at, format!("Invalid value: {name:?}: {reason}")))
}

/// All variables of a ConfigMap or Secret.
fn whole(facts: &Facts<'_>, from: &EnvFromSource, at: &str) -> Result<Vec<(String, String)>, Fault> {
    if !from.prefix.is_empty() {
        variable_name(&format!("{at}.prefix"), &from.prefix)?;
    }
    let (kind, field, reference) = match (&from.config_map_ref, &from.secret_ref) {
        (Some(reference), None) => (ObjectKind::ConfigMap, "configMapRef", reference),
        (None, Some(reference)) => (ObjectKind::Secret, "secretRef", reference),
        (None, None) => {
            return Err(wrong(at, "Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"));
        }
        (Some(_), Some(_)) => {
            return Err(wrong(
                at,
                "Invalid value: \"\": may not have more than one field specified at a time",
            ));
        }
    };
    let at = format!("{at}.{field}");
    let Some(object) = object(facts, kind, &reference.name, reference.optional, &format!("{at}.name"))?
    else {
        return Ok(Vec::new());
    };
    let entries = object.data.iter().filter(|(_, entry)| entry.variable);
    entries
        .map(|(key, entry)| Ok((format!("{}{key}", from.prefix), text(entry, key, &format!("{at}.name"))?)))
        .collect()
}

/// The object of this name, which stands at the path `at`; nothing where it is missing and may be.
pub(super) fn object<'a>(
    facts: &Facts<'a>,
    kind: ObjectKind,
    name: &str,
    optional: bool,
    at: &str,
) -> Result<Option<&'a Object>, Fault> {
    match facts.pod.objects.get(kind, name) {
        None if name.is_empty() => Err(wrong(at, "Required value")),
        None if !optional => {
            let what = kind.word();
            let message = format!("the manifest has no {what} of this name in the pod's namespace");
            Err(wrong(at, format!("Not found: {name:?}: {message}")))
        }
        found => Ok(found),
    }
}

fn text(entry: &Entry, key: &str, at: &str) -> Result<String, Fault> {
    match String::from_utf8(entry.bytes.clone()) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) | Err(_) => {
            Err(wrong(at, format!("the value of key {key:?} cannot be a variable: it is not text in UTF-8")))
        }
    }
}

/// Nothing where what it refers to is missing and may be.
fn value(
    facts: &Facts<'_>,
    container: &Container,
    env: &EnvVar,
    at: &str,
    before: &BTreeMap<String, String>,
) -> Result<Option<String>, Fault> {
    match &env.value_from {
        None if env.value.contains('\0') => Err(wrong(format!("{at}.value"), "it contains a NUL byte")),
        None => Ok(Some(expand(&env.value, before))),
        Some(_) if !env.value.is_empty() => Err(wrong(
            format!("{at}.valueFrom"),
            "Invalid value: \"\": may not be specified when `value` is not empty",
        )),
        Some(source) => from_source(facts, container, source, &format!("{at}.valueFrom")),
    }
}

fn from_source(
    facts: &Facts<'_>,
    container: &Container,
    source: &EnvVarSource,
    at: &str,
) -> Result<Option<String>, Fault> {
    let EnvVarSource { field_ref, resource_field_ref, config_map_key_ref, secret_key_ref, file_key_ref } =
        source;
    match (field_ref, resource_field_ref, config_map_key_ref, secret_key_ref, file_key_ref) {
        (Some(field), None, None, None, None) => facts.variable(field, &format!("{at}.fieldRef")).map(Some),
        (None, Some(field), None, None, None) => {
            facts.resource(field, Some(container), &format!("{at}.resourceFieldRef")).map(Some)
        }
        (None, None, Some(key), None, None) => {
            one(facts, ObjectKind::ConfigMap, key, &format!("{at}.configMapKeyRef"))
        }
        (None, None, None, Some(key), None) => {
            one(facts, ObjectKind::Secret, key, &format!("{at}.secretKeyRef"))
        }
        (None, None, None, None, Some(key)) => env_file::value(facts, key, &format!("{at}.fileKeyRef")),
        (None, None, None, None, None) => Err(wrong(
            at,
            "Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        )),
        _ => Err(wrong(at, "Invalid value: \"\": may not have more than one field specified at a time")),
    }
}

/// The value of one key.
fn one(facts: &Facts<'_>, kind: ObjectKind, key: &KeySelector, at: &str) -> Result<Option<String>, Fault> {
    let Some(object) = object(facts, kind, &key.name, key.optional, &format!("{at}.name"))? else {
        return Ok(None);
    };
    match object.data.get(&key.key).filter(|entry| entry.variable) {
        Some(entry) => text(entry, &key.key, &format!("{at}.key")).map(Some),
        None if key.optional => Ok(None),
        None => {
            let message = format!("Not found: {:?}: {} {} has no such key", key.key, kind.word(), key.name);
            Err(wrong(format!("{at}.key"), message))
        }
    }
}

#[cfg(test)]
mod tests;
