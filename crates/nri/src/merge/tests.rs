use proptest::prelude::*;

use super::*;
use crate::api::{LinuxContainerUpdate, LinuxCpu, LinuxMemory, OptionalInt64, OptionalUInt64, PosixRlimit};

fn container() -> Container {
    let mount = |place: &str| Mount { destination: place.to_owned(), ..Mount::default() };
    Container {
        id: "new".to_owned(),
        args: vec!["asked".to_owned()],
        env: vec!["A=1".to_owned(), "B=2".to_owned()],
        mounts: vec![mount("/a"), mount("/b")],
        annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        ..Container::default()
    }
}

fn env(key: &str, value: &str) -> ContainerAdjustment {
    let env = vec![KeyValue { key: key.to_owned(), value: value.to_owned() }];
    ContainerAdjustment { env, ..ContainerAdjustment::default() }
}

fn annotation(key: &str, value: &str) -> ContainerAdjustment {
    let annotations = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    ContainerAdjustment { annotations, ..ContainerAdjustment::default() }
}

fn memory(limit: i64) -> LinuxResources {
    let limit = Some(OptionalInt64 { value: limit });
    let memory = Some(LinuxMemory { limit, ..LinuxMemory::default() });
    LinuxResources { memory, ..LinuxResources::default() }
}

fn of(id: &str, resources: LinuxResources, ignore_failure: bool) -> ContainerUpdate {
    let linux = Some(LinuxContainerUpdate { resources: Some(resources) });
    ContainerUpdate { container_id: id.to_owned(), linux, ignore_failure }
}

#[test]
fn the_second_plugin_sees_what_the_first_did() {
    let (mut merge, mut seen) = (Merge::of_creation("new"), container());
    merge.adjust(env("C", "3"), &mut seen, "00-one").unwrap();
    assert_eq!(seen.env, ["A=1", "B=2", "C=3"]);
    merge.adjust(env("-A", ""), &mut seen, "10-two").unwrap();
    assert_eq!(seen.env, ["B=2", "C=3"]);
    let keys: Vec<&str> = merge.adjust.env.iter().map(|of| of.key.as_str()).collect();
    assert_eq!(keys, ["-A", "C"], "what is taken away comes before what is added");
}

#[test]
fn two_that_set_the_same_are_named() {
    let (mut merge, mut seen) = (Merge::of_creation("new"), container());
    merge.adjust(env("C", "3"), &mut seen, "00-one").unwrap();
    let error = merge.adjust(env("C", "4"), &mut seen, "10-two").unwrap_err();
    assert_eq!(error.to_string(), "plugins \"00-one\" and \"10-two\" both tried to set Env C");
}

#[test]
fn one_that_takes_away_what_another_set_may_set_it() {
    let (mut merge, mut seen) = (Merge::of_creation("new"), container());
    merge.adjust(annotation("new", "1"), &mut seen, "00-one").unwrap();
    let mut both = annotation("-new", "");
    both.annotations.insert("new".to_owned(), "2".to_owned());
    merge.adjust(both, &mut seen, "10-two").unwrap();
    assert_eq!(seen.annotations["new"], "2");
    assert_eq!(merge.adjust.annotations["new"], "2");
    let error = merge.adjust(annotation("new", "3"), &mut seen, "20-three").unwrap_err();
    assert!(error.to_string().contains("\"10-two\" and \"20-three\""), "{error}");
}

#[test]
fn an_empty_first_word_takes_the_command_line_of_another_away() {
    let (mut merge, mut seen) = (Merge::of_creation("new"), container());
    let args = |args: &[&str]| ContainerAdjustment {
        args: args.iter().map(|word| (*word).to_owned()).collect(),
        ..ContainerAdjustment::default()
    };
    merge.adjust(args(&["a"]), &mut seen, "00-one").unwrap();
    merge.adjust(args(&["b"]), &mut seen, "10-two").unwrap_err();
    merge.adjust(args(&["", "c", "d"]), &mut seen, "10-two").unwrap();
    assert_eq!(merge.adjust.args, ["c", "d"]);
    merge.adjust(args(&[""]), &mut seen, "20-three").unwrap();
    assert_eq!((merge.adjust.args, seen.args), (Vec::new(), container().args), "it is as before");
}

#[test]
fn hooks_are_of_all_that_add_some() {
    let (mut merge, mut seen) = (Merge::of_creation("new"), container());
    let hook = |path: &str| crate::api::Hook { path: path.to_owned(), ..crate::api::Hook::default() };
    for (plugin, path) in [("00-one", "/one"), ("10-two", "/two")] {
        let hooks = Some(Hooks { poststop: vec![hook(path)], ..Hooks::default() });
        merge.adjust(ContainerAdjustment { hooks, ..Default::default() }, &mut seen, plugin).unwrap();
    }
    assert_eq!(merge.adjust.hooks.unwrap().poststop.len(), 2);
    let owners = merge.owners.message();
    assert_eq!(owners.owners["new"].simple[&(Field::OciHooks as i32)], "00-one,10-two");
}

#[test]
fn limits_conflict_one_by_one() {
    let (mut merge, mut seen) = (Merge::of_creation("new"), container());
    let adjust = |resources| ContainerAdjustment {
        linux: Some(LinuxContainerAdjustment { resources: Some(resources), ..Default::default() }),
        ..ContainerAdjustment::default()
    };
    let shares = Some(OptionalUInt64 { value: 7 });
    let cpu =
        LinuxResources { cpu: Some(LinuxCpu { shares, ..LinuxCpu::default() }), ..LinuxResources::default() };
    merge.adjust(adjust(memory(1)), &mut seen, "00-one").unwrap();
    merge.adjust(adjust(cpu), &mut seen, "10-two").unwrap();
    let error = merge.adjust(adjust(memory(2)), &mut seen, "10-two").unwrap_err();
    assert!(error.to_string().contains("MemLimit"), "{error}");
    let merged = merge.adjust.linux.unwrap().resources.unwrap();
    assert_eq!(merged.memory.unwrap().limit.unwrap().value, 1);
    assert_eq!(merged.cpu.unwrap().shares.unwrap().value, 7);
}

#[test]
fn an_update_whose_failure_is_allowed_gives_way() {
    let mut merge = Merge::of_creation("new");
    merge.update(vec![of("old", memory(1), false)], "00-one").unwrap();
    merge.update(vec![of("old", memory(2), true)], "10-two").unwrap();
    merge.update(vec![of("old", memory(2), false)], "10-two").unwrap_err();
    let updates = merge.updates();
    let [update] = updates.as_slice() else { panic!("{updates:?}") };
    let resources = update.linux.clone().unwrap().resources.unwrap();
    assert_eq!(resources.memory.unwrap().limit.unwrap().value, 1);
    let error = merge.update(vec![of("new", memory(2), false)], "10-two").unwrap_err();
    assert!(matches!(error, MergeError::UpdateOfNew { .. }), "{error}");
}

#[test]
fn swap_that_was_asked_for_is_not_below_the_limit_of_a_plugin() {
    let signed = |value| Some(OptionalInt64 { value });
    let with = |limit, swap| {
        let memory = LinuxMemory { limit: signed(limit), swap: signed(swap), ..LinuxMemory::default() };
        LinuxResources { memory: Some(memory), ..LinuxResources::default() }
    };
    for (asked, limit, expected) in
        [(100, 200, 200), (300, 200, 300), (-1, 200, -1), (100, -1, -1), (100, 0, 100)]
    {
        let mut merge = Merge::of_update("old", with(100, asked));
        merge.update(vec![of("old", memory(limit), false)], "00-one").unwrap();
        let swap = merge.resources_of("old").memory.unwrap().swap;
        assert_eq!(swap, signed(expected), "swap {asked}, limit {limit}");
    }
    let mut merge = Merge::of_update("old", with(100, 100));
    merge.update(vec![of("old", with(200, 150), false)], "00-one").unwrap();
    assert_eq!(merge.resources_of("old").memory.unwrap().swap, signed(150), "a plugin's own word counts");
}

#[test]
fn an_update_that_gives_way_claims_nothing() {
    let mut merge = Merge::default();
    let pids = Some(crate::api::LinuxPids { limit: 1 });
    merge.update(vec![of("old", LinuxResources { pids, ..Default::default() }, false)], "00-one").unwrap();
    // The limit of memory is claimed before the conflict about processes.
    merge.update(vec![of("old", LinuxResources { pids, ..memory(2) }, true)], "10-two").unwrap();
    assert_eq!(merge.resources_of("old").memory, None);
    merge.update(vec![of("old", memory(3), false)], "20-three").unwrap();
    assert_eq!(merge.resources_of("old").memory.unwrap().limit.unwrap().value, 3);
}

#[test]
fn an_update_starts_from_what_is_asked_for() {
    let mut merge = Merge::of_update("old", memory(5));
    assert_eq!(merge.resources_of("old").memory.unwrap().limit.unwrap().value, 5);
    merge.update(vec![of("old", memory(6), false), of("other", memory(1), false)], "00-one").unwrap();
    assert_eq!(merge.resources_of("old").memory.unwrap().limit.unwrap().value, 6);
    let others: Vec<String> = merge.updates_but("old").into_iter().map(|of| of.container_id).collect();
    assert_eq!(others, ["other"]);
}

#[test]
fn limits_of_processes_are_claimed_by_their_kind() {
    let (mut merge, mut seen) = (Merge::of_creation("new"), container());
    let limit = |kind: &str| ContainerAdjustment {
        rlimits: vec![PosixRlimit { r#type: kind.to_owned(), hard: 1, soft: 1 }],
        ..ContainerAdjustment::default()
    };
    merge.adjust(limit("RLIMIT_CORE"), &mut seen, "00-one").unwrap();
    merge.adjust(limit("RLIMIT_NOFILE"), &mut seen, "10-two").unwrap();
    merge.adjust(limit("RLIMIT_CORE"), &mut seen, "10-two").unwrap_err();
}

#[test]
fn evictions_are_bounded() {
    let mut merge = Merge::default();
    merge.evict(vec![ContainerEviction::default(); MAX_UPDATES], "00-one").unwrap();
    let error = merge.evict(vec![ContainerEviction::default()], "10-two").unwrap_err();
    assert!(matches!(error, MergeError::TooMany { .. }), "{error}");
}

#[test]
fn devices_of_the_container_device_interface_are_seen_by_the_next() {
    let (mut merge, mut seen) = (Merge::of_creation("new"), container());
    let device = crate::api::CdiDevice { name: "v/c=d".to_owned() };
    let wanted = ContainerAdjustment { cdi_devices: vec![device.clone()], ..ContainerAdjustment::default() };
    merge.adjust(wanted.clone(), &mut seen, "00-one").unwrap();
    assert_eq!(seen.cdi_devices, [device]);
    merge.adjust(wanted, &mut seen, "10-two").unwrap_err();
}

proptest! {
    /// What the last plugin would see of the environment is what the merged adjustment makes of the first one's.
    #[test]
    fn the_sum_is_what_the_steps_make(steps in proptest::collection::vec(("-?[A-D]", "[0-9]"), 0..12)) {
        let (mut merge, mut seen) = (Merge::of_creation("new"), container());
        for (number, (key, value)) in steps.iter().enumerate() {
            // A step that conflicts fails the creation; what was before it counts here.
            let before = seen.clone();
            if merge.adjust(env(key, value), &mut seen, &format!("{number:02}-x")).is_err() {
                seen = before;
                break;
            }
        }
        let mut sum: BTreeMap<String, String> = container().env.iter().map(|line| variable(line)).map(|of| (of.key, of.value)).collect();
        for of in &merge.adjust.env {
            match taken_away(&of.key) {
                Some(key) => drop(sum.remove(key)),
                None => drop(sum.insert(of.key.clone(), of.value.clone())),
            }
        }
        let seen: BTreeMap<String, String> = seen.env.iter().map(|line| variable(line)).map(|of| (of.key, of.value)).collect();
        prop_assert_eq!(sum, seen);
    }
}
