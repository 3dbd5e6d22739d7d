//! The bytes of the shim protocol and of the shim's records, forever: what a version encoded, every later one
//! decodes, and encodes again in the same way.
//!
//! `fixtures/shim-N.txt` has a line `NAME HEX` for each message that version N brought. Lines are added and
//! never changed. A variant without a line fails here and says which line it wants.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use berth_types::shim::{decode, encode, record};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[path = "shim_wire/samples.rs"]
mod samples;
#[path = "shim_wire/variants.rs"]
mod variants;

/// Everything that was ever released.
fn fixtures() -> BTreeMap<&'static str, Vec<u8>> {
    let lines = [
        include_str!("fixtures/shim-1.txt"),
        include_str!("fixtures/shim-2.txt"),
        include_str!("fixtures/shim-3.txt"),
    ];
    let lines = lines.into_iter().flat_map(str::lines).filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            let bytes = hex.as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            (name, bytes.map(byte).collect())
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Compares one message with its line, in both directions; a record with its magic.
fn check<T>(wanted: &mut Vec<String>, seen: &mut BTreeSet<String>, name: &str, message: &T, is_record: bool)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let bytes = if is_record { record::encode(message).unwrap() } else { encode(message).unwrap() };
    assert!(seen.insert(name.to_owned()), "two samples named {name}");
    let Some(fixture) = fixtures().remove(name) else {
        wanted.push(format!("{name} {}", hex(&bytes)));
        return;
    };
    let got: T = if is_record { record::decode(&fixture).unwrap() } else { decode(&fixture).unwrap() };
    assert_eq!(got, *message, "{name} is not what it was when it was released");
    assert_eq!(hex(&bytes), hex(&fixture), "{name} is encoded in another way than when it was released");
}

#[test]
fn every_released_message_is_what_it_was() {
    let (mut wanted, mut seen) = (Vec::new(), BTreeSet::new());
    for (name, message) in samples::requests() {
        check(&mut wanted, &mut seen, &format!("request.{name}"), &message, false);
    }
    for (name, message) in samples::answers() {
        check(&mut wanted, &mut seen, &format!("answer.{name}"), &message, false);
    }
    check(&mut wanted, &mut seen, "record.Started", &samples::started(), true);
    check(&mut wanted, &mut seen, "record.Exited", &samples::exited(), true);
    assert!(wanted.is_empty(), "lines for the fixture of the version to come:\n{}", wanted.join("\n"));
    let known: BTreeSet<String> = fixtures().into_keys().map(str::to_owned).collect();
    assert_eq!(seen, known, "a released message has no sample any more");
}

/// The sample that stands for a variant begins with its name: `Create` or `Create.tty`.
fn covered<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    names.map(|name| name.split('.').next().unwrap_or(name)).collect()
}

#[test]
fn every_variant_has_a_sample() {
    use berth_types::shim::{Answer, Event, Phase, PidSpace, Reason, Request};
    let requests = samples::requests();
    assert_eq!(covered(requests.iter().map(|(name, _)| *name)), variants::of::<Request>());
    let names: Vec<&str> = samples::answers().into_iter().map(|(name, _)| name).collect();
    let (ok, rest): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.starts_with("ok."));
    let (events, failures): (Vec<&str>, Vec<&str>) = rest.iter().partition(|n| n.starts_with("event."));
    let strip = |names: Vec<&'static str>| {
        names.into_iter().map(|name| name.split_once('.').unwrap().1).collect::<Vec<_>>()
    };
    let (ok, events, failures) = (strip(ok), strip(events), strip(failures));
    assert_eq!(covered(ok.iter().copied()), variants::of::<Answer>());
    assert_eq!(covered(events.iter().copied()), variants::of::<Event>());
    assert_eq!(covered(failures.iter().copied()), variants::of::<Reason>());
    // Those that are parts of messages: the samples hold each, which their names say.
    let parts = |kind: &str| -> BTreeSet<&str> {
        let all = requests.iter().map(|(name, _)| *name).chain(ok.iter().copied());
        all.filter_map(|name| name.split_once(kind).map(|(_, part)| part)).collect()
    };
    assert_eq!(parts(".space-"), variants::of::<PidSpace>());
    assert_eq!(parts(".phase-"), variants::of::<Phase>());
}
