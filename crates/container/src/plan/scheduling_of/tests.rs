use serde_json::{Value, json};

use super::*;
use crate::plan::{Inputs, Plan, parse, plan};

fn planned(process: Value, linux: Value) -> Result<Plan, String> {
    let mut config = json!({
        "ociVersion": "1.3.0",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sh"], "cwd": "/" },
        "root": { "path": "/rootfs" },
        "linux": { "namespaces": [{ "type": "mount" }] }
    });
    for (of, more) in [("process", process), ("linux", linux)] {
        config[of].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    let spec = parse(config.to_string().as_bytes()).map_err(|e| e.to_string())?;
    plan(&spec, &Inputs::default()).map_err(|e| e.to_string())
}

fn made(process: Value, linux: Value) -> Result<Option<Scheduling>, String> {
    planned(process, linux).map(|plan| plan.process.scheduling.map(|scheduling| *scheduling))
}

#[test]
fn it_makes_a_plan_of_the_third_version() {
    let without = planned(json!({}), json!({})).expect("a plan").encode().expect("encoded");
    for profile in ["", "mine"] {
        let local = json!({ "memoryPolicy": { "mode": "MPOL_LOCAL" } });
        let plan = planned(json!({ "apparmorProfile": profile }), local).expect("a plan");
        let bytes = plan.encode().expect("encoded");
        assert_eq!(bytes[..2], [3, 0]);
        assert_eq!(bytes[2..without.len()], without[2..]);
        assert_eq!(Plan::decode(&bytes), Ok(plan.clone()));
        for end in 0..bytes.len() {
            assert!(Plan::decode(&bytes[..end]).is_err(), "{end}");
        }
        let process = plan.process.encode().expect("encoded");
        assert_eq!(ProcessPlan::decode(&process), Ok(plan.process));
    }
}

#[test]
fn what_is_not_said_is_left() {
    assert_eq!(made(json!({}), json!({})), Ok(None));
}

#[test]
fn policies_have_their_numbers_and_parameters() {
    let policy = |scheduler: Value| {
        made(json!({ "scheduler": scheduler }), json!({})).map(|made| made.unwrap().policy.unwrap())
    };
    let batch = policy(json!({ "policy": "SCHED_BATCH", "nice": -3 })).unwrap();
    assert_eq!((batch.number, batch.nice, batch.priority, batch.flags), (3, -3, 0, 0));
    let fifo = policy(json!({ "policy": "SCHED_FIFO", "priority": 99 })).unwrap();
    assert_eq!((fifo.number, fifo.priority), (1, 99));
    let times = json!({ "policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"] });
    let deadline = policy(times).unwrap();
    assert_eq!(
        (deadline.number, deadline.runtime, deadline.deadline, deadline.period, deadline.flags),
        (6, 1, 2, 3, 7)
    );
    for (wrong, place) in [
        (json!({ "policy": "SCHED_RR" }), "process.scheduler.priority"),
        (json!({ "policy": "SCHED_RR", "priority": 100 }), "process.scheduler.priority"),
        (json!({ "policy": "SCHED_OTHER", "priority": 1 }), "process.scheduler.priority"),
        (json!({ "policy": "SCHED_OTHER", "nice": 20 }), "process.scheduler.nice"),
        (json!({ "policy": "SCHED_ISO" }), "process.scheduler.policy"),
    ] {
        let said = policy(wrong).unwrap_err();
        assert!(said.contains(place), "{said}");
    }
}

#[test]
fn an_io_priority_is_class_and_level() {
    let of = |class: &str, priority: i64| {
        let wanted = json!({ "ioPriority": { "class": class, "priority": priority } });
        made(wanted, json!({})).map(|made| made.unwrap().io_priority.unwrap())
    };
    assert_eq!(of("IOPRIO_CLASS_BE", 5), Ok(0x4005));
    assert_eq!(of("IOPRIO_CLASS_RT", 0), Ok(0x2000));
    assert_eq!(of("IOPRIO_CLASS_IDLE", 7), Ok(0x6007));
    for level in [-1, 8] {
        assert!(of("IOPRIO_CLASS_BE", level).unwrap_err().contains("process.ioPriority.priority"));
    }
}

#[test]
fn a_memory_policy_is_a_mode_with_flags_and_nodes() {
    let of = |policy: Value| {
        let made = made(json!({}), json!({ "memoryPolicy": policy }));
        made.map(|made| made.unwrap().memory.unwrap()).map(|policy| (policy.mode, policy.nodes))
    };
    assert_eq!(of(json!({ "mode": "MPOL_LOCAL" })), Ok((4, vec![])));
    assert_eq!(of(json!({ "mode": "MPOL_BIND", "nodes": "0-1, 3,64" })), Ok((2, vec![0b1011, 1])));
    let flags = json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] });
    assert_eq!(of(flags), Ok((3 | 0x8000, vec![1])));
    for nodes in ["x", "1-", "2-1", "0,,1", "1024", "0-99999999999", "-1"] {
        let said = of(json!({ "mode": "MPOL_BIND", "nodes": nodes })).unwrap_err();
        assert!(said.contains("linux.memoryPolicy.nodes"), "{nodes}: {said}");
    }
}
