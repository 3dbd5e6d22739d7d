//! Plays a manifest, waits until everything is seen that must be, and takes it down.

use std::process::Command;
use std::time::Duration;

use berth_testkit::guard::wait_for;
use serde_json::Value;

use crate::case::{Call, Case};
use crate::home::{Home, Said};

/// The longest that anything may take to be so on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

pub fn run(home: &Home, case: &Case) -> Result<(), String> {
    let dir = home.dir.path().join(&case.file);
    std::fs::create_dir(&dir).unwrap();
    let here = dir.to_str().unwrap();
    let shell = |line: &str| {
        let line = line.replace("/tmp/corpus", here);
        let status = Command::new("sh").args(["-e", "-c", &line]).current_dir(&dir).status().unwrap();
        assert!(status.success(), "{}: {line}: {status}", case.file);
    };
    shell(&case.expect.before);
    let path = dir.join("pod.yaml");
    std::fs::write(&path, case.text.replace("/tmp/corpus", here)).unwrap();
    let file = path.to_str().unwrap();
    let call = home.spawn(&["play", "-q", file]);
    let result = if case.expect.waits {
        let result = shows(home, case);
        call.signal(rustix::process::Signal::INT);
        result.and_then(|()| says(&call.end(), &case.expect.says))
    } else {
        let played = call.end();
        if !case.expect.refused.is_empty() {
            return refused(&played, &case.expect.refused);
        }
        let fails = &case.expect.fails;
        let result = if fails.is_empty() { begun(&played) } else { refused(&played, fails) };
        result.and_then(|()| says(&played, &case.expect.says)).and_then(|()| shows(home, case))
    };
    let down = home.berth(&["down", "-t", "0", "--volumes", "-f", file]);
    shell(&case.expect.after);
    result.and_then(|()| if down.code == 0 { Ok(()) } else { Err(format!("{down:?}")) })
}

fn says(played: &Said, texts: &[String]) -> Result<(), String> {
    match texts.iter().find(|text| !played.err.contains(text.as_str())) {
        Some(text) => Err(format!("not said: {text:?} in {played:?}")),
        None => Ok(()),
    }
}

fn begun(played: &Said) -> Result<(), String> {
    if played.code == 0 { Ok(()) } else { Err(format!("play failed: {}", played.err)) }
}

fn refused(played: &Said, texts: &[String]) -> Result<(), String> {
    if played.code == 0 {
        return Err(format!("it was played: {}", played.err));
    }
    match texts.iter().find(|text| !played.err.contains(text.as_str())) {
        Some(text) => Err(format!("{text:?} is not in {}", played.err)),
        None => Ok(()),
    }
}

fn shows(home: &Home, case: &Case) -> Result<(), String> {
    let (expect, pod) = (&case.expect, case.pod());
    if !expect.status.is_null() {
        until(|| {
            let said = home.berth(&["pods", &pod, "-o", "yaml"]);
            let object: Value = serde_saphyr::from_str(&said.out).map_err(|e| format!("{e}: {said:?}"))?;
            has(&object["status"], &expect.status, "status")
                .map_err(|why| format!("{why}: {}", object["status"]))
        })?;
    }
    for (container, lines) in &expect.logs {
        until(|| {
            let name = pod.rsplit('/').next().unwrap_or_default();
            let said = home.berth(&["logs", &format!("{name}/{container}")]);
            let mut left = said.out.lines().chain(said.err.lines());
            match lines.iter().find(|line| !left.any(|found| found == line.as_str())) {
                Some(line) => Err(format!("{container} did not write {line:?}: {said:?}")),
                None => Ok(()),
            }
        })?;
    }
    expect.calls.iter().try_for_each(|call| until(|| answers(home, call)))
}

fn answers(home: &Home, call: &Call) -> Result<(), String> {
    let said = home.berth(&call.berth);
    let all = format!("{}{}", said.out, said.err);
    let missing = call.says.iter().find(|text| !all.contains(text.as_str()));
    let there = call.lacks.iter().find(|text| all.contains(text.as_str()));
    match (missing, there) {
        (None, None) if said.code == call.code => Ok(()),
        _ => Err(format!("{:?}: {said:?}, and not {call:?}", call.berth)),
    }
}

/// Tries until it is so; the last reason why it is not.
fn until(is: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let mut why = String::new();
    let done = wait_for(LIMIT, || is().map_err(|e| why = e).ok());
    done.ok_or(why)
}

/// Whether all of `wanted` is in `found`: fields by name, items in any order.
fn has(found: &Value, wanted: &Value, at: &str) -> Result<(), String> {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().try_for_each(|(key, value)| {
            has(found.get(key).unwrap_or(&Value::Null), value, &format!("{at}.{key}"))
        }),
        (Value::Array(found), Value::Array(wanted)) => wanted.iter().try_for_each(|item| {
            let is = found.iter().any(|one| has(one, item, at).is_ok());
            is.then_some(()).ok_or_else(|| format!("{at} has no {item}"))
        }),
        (found, wanted) if found == wanted => Ok(()),
        (found, wanted) => Err(format!("{at} is {found}, and not {wanted}")),
    }
}
