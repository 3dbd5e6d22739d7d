//! From the bytes of `config.json` to a specification, without losing any of it.

use oci_spec::runtime::Spec;
use serde_json::Value;

use super::{MAX_SPEC, PlanError};

/// Reads a runtime specification of version 1.x.
///
/// # Errors
/// When it is too large, malformed, of another version, or has a field that is not known: that would be
/// a setting that would have no effect. (The specification would have it ignored; docs/adr/0003 says why not.)
pub fn parse(json: &[u8]) -> Result<Spec, PlanError> {
    if json.len() > MAX_SPEC {
        return Err(PlanError::TooLarge(json.len()));
    }
    let mut value: Value = serde_json::from_slice(json).map_err(|e| PlanError::Malformed(e.to_string()))?;
    if !value.is_object() {
        return Err(PlanError::Malformed("not an object".into()));
    }
    let spec: Result<Spec, _> = match respell(&mut value) {
        true => serde_json::from_value(value.clone()),
        false => serde_json::from_slice(json),
    };
    let spec = spec.map_err(|e| PlanError::Malformed(e.to_string()))?;
    let known = serde_json::to_value(&spec).map_err(|e| PlanError::Malformed(e.to_string()))?;
    compare(&value, &known, &mut String::new())?;
    if !spec.version().starts_with("1.") {
        return Err(PlanError::unsupported("ociVersion", format!("version {:?}", spec.version())));
    }
    Ok(spec)
}

/// The flags of schedulers for which the library has other names than the specification. Whether there were any.
fn respell(config: &mut Value) -> bool {
    const NAMES: [(&str, &str); 2] = [
        ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
        ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
    ];
    let flags = config.pointer_mut("/process/scheduler/flags").and_then(Value::as_array_mut);
    let mut any = false;
    for flag in flags.into_iter().flatten() {
        if let Some((_, name)) = NAMES.iter().find(|(name, _)| flag.as_str() == Some(name)) {
            *flag = Value::from(*name);
            any = true;
        }
    }
    any
}

/// Refuses what is in `given` and not in `known`, the same document after it was understood.
fn compare(given: &Value, known: &Value, at: &mut String) -> Result<(), PlanError> {
    let length = at.len();
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                if !at.is_empty() {
                    at.push('.');
                }
                at.push_str(key);
                match known.get(key) {
                    Some(understood) => compare(value, understood, at)?,
                    // Empty says nothing.
                    None if is_empty(value) => {}
                    None => return Err(PlanError::Unknown { field: at.clone() }),
                }
                at.truncate(length);
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                at.push_str(&format!("[{index}]"));
                compare(given, known, at)?;
                at.truncate(length);
            }
        }
        // The parser takes a list of values for an object; no specification is written so.
        (Value::Array(_), Value::Object(_)) => {
            return Err(PlanError::Malformed(format!("{at} is a list and not an object")));
        }
        _ => {}
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}
