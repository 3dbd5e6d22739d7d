//! Logs in the CRI's format.

use std::path::Path;

use berth_testkit::guard::wait_until;
use berth_testkit::require_root;
use tonic::Code;

use crate::cri;
use crate::home::LIMIT;
use crate::world::{WAITS, World, messages};

/// Contract 35: time, stream, whether the line is whole, and the line.
#[test]
fn lines_have_the_form_that_kubelets_read() {
    require_root!();
    let world = World::start();
    let config = world.config("form");
    let line = "echo out; echo err >&2; head -c 20000 /dev/zero | tr '\\0' x; echo; echo; printf 'no end'";
    let (pod, id) = world.started(&config, line);
    world.ended(&id);
    let log = Path::new(&config.log_directory).join("c.log");
    let text = std::fs::read_to_string(&log).unwrap();
    let mut streams = std::collections::BTreeMap::<_, Vec<_>>::new();
    for line in text.lines() {
        let [time, stream, tag, message] = line.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
        let (date, zone) = (time.get(..10).unwrap(), time.get(time.len() - 1..).unwrap());
        assert!(date.starts_with("20") && (zone == "Z" || time.contains('+')), "{time}");
        assert_eq!(time.split(['.', 'Z', '+']).nth(1).map(str::len), Some(9), "{time}");
        assert!(
            time > streams.entry(stream).or_default().last().map_or("", |(before, _, _)| *before),
            "{time}"
        );
        streams.get_mut(stream).unwrap().push((time, tag, message));
    }
    let shown = |stream: &str| -> Vec<_> {
        streams[stream].iter().map(|(_, tag, message)| (*tag, message.len())).collect()
    };
    // Longer ones are cut at 16 KiB, and what has no end is no whole line.
    assert_eq!(shown("stdout"), [("F", 3), ("P", 16 << 10), ("F", 20000 - (16 << 10)), ("F", 0), ("P", 6)]);
    assert_eq!(shown("stderr"), [("F", 3)]);
    world.cri.stop_pod(&pod).unwrap();
    world.cri.remove_pod(&pod).unwrap();
    world.finish();
}

/// Contract 36: after an error the kubelet renames the old file back, so there must be no new one.
#[test]
fn a_log_is_reopened_only_while_its_container_runs() {
    require_root!();
    let world = World::start();
    let config = world.config("rotated");
    let (pod, id) = world.started(&config, "trap 'exit 0' TERM; while :; do echo x; sleep 0.05; done");
    let dir = Path::new(&config.log_directory);
    let (log, aside) = (dir.join("c.log"), dir.join("c.log.aside"));
    std::fs::rename(&log, &aside).unwrap();
    world.cri.reopen_log(&id).unwrap();
    assert!(wait_until(LIMIT, || !messages(&log).is_empty()));
    // The place of the new file is taken by what is no file: an error, and the old one goes on.
    std::fs::rename(&log, &aside).unwrap();
    std::fs::create_dir(&log).unwrap();
    world.cri.reopen_log(&id).unwrap_err();
    std::fs::remove_dir(&log).unwrap();
    let then = messages(&aside).len();
    assert!(wait_until(LIMIT, || messages(&aside).len() > then), "nothing is lost after an error");
    std::fs::rename(&aside, &log).unwrap();
    world.cri.stop(&id, 60).unwrap();
    std::fs::rename(&log, &aside).unwrap();
    let refused = world.cri.reopen_log(&id).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(!log.exists());
    world.cri.stop_pod(&pod).unwrap();
    world.cri.remove_pod(&pod).unwrap();
    world.finish();
}

/// Contracts 25 and 37: a log is there right after the start, and stays when its container is removed.
#[test]
fn a_log_is_there_from_the_start_and_stays() {
    require_root!();
    let world = World::start();
    let mut config = world.config("stays");
    config.log_directory = format!("{}/ns_pod_uid", config.log_directory);
    // The kubelet makes the directories.
    std::fs::create_dir_all(Path::new(&config.log_directory).join("c")).unwrap();
    let pod = world.cri.run(&config).unwrap();
    for attempt in 0..3 {
        let mut container = cri::shell("c", &config, WAITS);
        container.metadata.as_mut().unwrap().attempt = attempt;
        container.log_path = format!("c/{attempt}.log");
        let id = world.cri.create(&pod, &config, container).unwrap();
        world.cri.start(&id).unwrap();
        let log = Path::new(&config.log_directory).join(format!("c/{attempt}.log"));
        assert!(log.exists(), "{}", log.display());
        assert_eq!(world.cri.status(&id).unwrap().log_path, log.display().to_string());
        assert!(wait_until(LIMIT, || messages(&log) == ["started"]), "it hears signals from then on");
        world.cri.stop(&id, 60).unwrap();
        world.cri.remove(&id).unwrap();
        assert_eq!(messages(&log), ["started"]);
    }
    world.cri.stop_pod(&pod).unwrap();
    world.cri.remove_pod(&pod).unwrap();
    assert_eq!(std::fs::read_dir(Path::new(&config.log_directory).join("c")).unwrap().count(), 3);
    world.finish();
}
