//! No field is ignored: each field of each request has a verdict in `fields.toml`, and the verdict is true of the
//! conversion.

mod edit;
mod probe;

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use tonic::Status;

use probe::Probe;

/// The verdict of a whole call.
const CALL: &str = "call";
/// Fields that the handlers read themselves; each handler is a call or two of the engine.
const READ_BY_HANDLERS: [&str; 4] =
    ["pod_sandbox_id", "container_id", "verbose", "runtime_config.network_config.pod_cidr"];
/// Calls that read nothing of their request.
const READ_NOTHING: [&str; 1] = ["Version"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Supported,
    Refused,
    NoEffect,
}

/// The verdicts by call and path.
type Verdicts = BTreeMap<String, BTreeMap<String, Verdict>>;

fn verdicts() -> Verdicts {
    let table: toml::Table = include_str!("../fields.toml").parse().unwrap();
    let verdict = |text: &str| {
        let word = text.split([':', ';', '(']).next().unwrap().trim_end();
        let found = match word {
            "supported" => Verdict::Supported,
            "refused" => Verdict::Refused,
            "no effect" => Verdict::NoEffect,
            other => panic!("{other:?} is no verdict: {text}"),
        };
        assert!(
            found == Verdict::Supported || text.len() > word.len() + 2,
            "a verdict without a reason: {text}"
        );
        found
    };
    let fields = |value: toml::Value| {
        let fields = value.try_into::<BTreeMap<String, String>>().unwrap();
        fields.into_iter().map(|(path, text)| (path, verdict(&text))).collect()
    };
    table.into_iter().map(|(call, value)| (call, fields(value))).collect()
}

fn descriptor() -> DescriptorPool {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin")).as_slice()).unwrap()
}

/// The calls with their requests.
fn requests(pool: &DescriptorPool) -> BTreeMap<String, MessageDescriptor> {
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.map(|method| (method.name().to_owned(), method.input())).collect()
}

/// Walks a request: what has a verdict is ticked off, what is not a message and has none is missing.
fn walk(
    message: &MessageDescriptor,
    at: &str,
    known: &BTreeMap<String, Verdict>,
    used: &mut BTreeSet<String>,
    missing: &mut Vec<String>,
) {
    for field in message.fields() {
        let path = if at.is_empty() { field.name().to_owned() } else { format!("{at}.{}", field.name()) };
        match (known.contains_key(&path), field.kind()) {
            (true, _) => drop(used.insert(path)),
            (false, Kind::Message(inner)) if !field.is_map() => walk(&inner, &path, known, used, missing),
            (false, _) => missing.push(path),
        }
    }
}

#[test]
fn every_field_of_every_request_has_a_verdict_and_every_verdict_a_field() {
    let (pool, mut verdicts) = (descriptor(), verdicts());
    let mut wrong = Vec::new();
    for (call, request) in requests(&pool) {
        let Some(known) = verdicts.remove(&call) else {
            wrong.push(format!("{call} has no section"));
            continue;
        };
        if known.contains_key(CALL) {
            assert_eq!(known.len(), 1, "{call}: the verdict of a call is the only one");
            continue;
        }
        let (mut used, mut missing) = (BTreeSet::new(), Vec::new());
        walk(&request, "", &known, &mut used, &mut missing);
        wrong.extend(missing.iter().map(|path| format!("{call}: {path} has no verdict")));
        let stale = known.keys().filter(|path| !used.contains(*path));
        wrong.extend(
            stale.map(|path| format!("{call}: {path} is no field, or one of a field with a verdict")),
        );
    }
    wrong.extend(verdicts.keys().map(|call| format!("{call} is no call")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_new_field_fails_the_walk() {
    let request = requests(&descriptor()).remove("StopContainer").unwrap();
    let known = BTreeMap::from([("container_id".to_owned(), Verdict::Supported)]);
    let (mut used, mut missing) = (BTreeSet::new(), Vec::new());
    walk(&request, "", &known, &mut used, &mut missing);
    assert_eq!((missing, used.len()), (vec!["timeout".to_owned()], 1));
}

#[test]
fn the_calls_that_are_refused_are_those_that_are_not_there() {
    let mut snake: BTreeSet<String> = BTreeSet::new();
    for (call, known) in verdicts() {
        if known.contains_key(CALL) {
            assert_eq!(known[CALL], Verdict::Refused, "{call}");
            let spaced = call.chars().flat_map(|c| c.is_uppercase().then_some('_').into_iter().chain([c]));
            snake.insert(spaced.collect::<String>().trim_start_matches('_').to_lowercase());
        }
    }
    let later: BTreeSet<String> = crate::runtime::LATER.iter().map(|call| (*call).to_owned()).collect();
    assert_eq!(snake, later);
}

/// The verdicts that the conversion can be asked about, with what asks it.
fn probed() -> Vec<(Probe, String, Verdict)> {
    let mut probes: BTreeMap<&str, Probe> = probe::all().into_iter().map(|p| (p.call, p)).collect();
    let mut asked = Vec::new();
    for (call, known) in verdicts() {
        let by_handler = |path: &String| READ_BY_HANDLERS.contains(&path.as_str()) || path == CALL;
        let Some(probe) = probes.remove(call.as_str()) else {
            let covered = READ_NOTHING.contains(&call.as_str()) || known.keys().all(by_handler);
            assert!(covered, "{call} has no probe");
            continue;
        };
        let paths = known.into_iter().filter(|(path, _)| !by_handler(path));
        asked.extend(paths.map(|(path, verdict)| (probe.clone(), path, verdict)));
    }
    assert!(probes.is_empty(), "probes of no call: {probes:?}");
    asked
}

/// What the conversion makes of the request, and of the same with one field changed.
fn with_and_without(
    requests: &BTreeMap<String, MessageDescriptor>,
    probe: &Probe,
    path: &str,
    change: impl Fn(&FieldDescriptor, &mut Value),
) -> (String, Result<String, Status>) {
    let descriptor = requests[probe.call].clone();
    let bytes = (probe.request)(path);
    let before = (probe.convert)(&bytes).unwrap_or_else(|e| panic!("{}: {path}: {e}", probe.call));
    let mut message = DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap();
    edit::at(&mut message, path, &change);
    let changed = prost_reflect::prost::Message::encode_to_vec(&message);
    assert_ne!(changed, bytes, "{}: {path} is not changed", probe.call);
    (before, (probe.convert)(&changed))
}

/// Whether an error names the field; indices are not part of a path.
fn names(status: &Status, path: &str) -> bool {
    status.message().replace("[0]", "").replace("[1]", "").contains(path)
}

#[test]
fn every_verdict_is_true_of_the_conversion() {
    let (requests, mut wrong) = (requests(&descriptor()), Vec::new());
    for (probe, path, verdict) in probed() {
        let value = probe.value(&path);
        let (before, after) = with_and_without(&requests, &probe, &path, |field, current| match &value {
            Some(value) => *current = value.clone(),
            None => edit::change(field, current),
        });
        let holds = match (verdict, &after) {
            (Verdict::Supported, Ok(after)) => *after != before,
            (Verdict::Refused, Err(status)) => names(status, &path),
            (Verdict::NoEffect, Ok(after)) => *after == before,
            (Verdict::Supported | Verdict::NoEffect, Err(_)) | (Verdict::Refused, Ok(_)) => false,
        };
        if !holds {
            wrong.push(format!("{}: {path} is not {verdict:?}: {after:?}", probe.call));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_value_that_an_enumeration_does_not_have_is_refused_by_name() {
    let requests = requests(&descriptor());
    let mut seen = 0;
    for (probe, path, verdict) in probed() {
        let is_enum =
            edit::field(&requests[probe.call], &path).is_some_and(|f| matches!(f.kind(), Kind::Enum(_)));
        if !is_enum || verdict == Verdict::NoEffect {
            continue;
        }
        let (_, after) =
            with_and_without(&requests, &probe, &path, |_, value| *value = Value::EnumNumber(99));
        let status = after.expect_err(&path);
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{path}: {status}");
        assert!(names(&status, &path), "{path}: {status}");
        seen += 1;
    }
    assert!(seen >= 14, "only {seen} enumerations");
}
