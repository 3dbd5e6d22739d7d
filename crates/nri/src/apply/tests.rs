use std::collections::BTreeMap;

use oci_spec::runtime::{Linux, Mount};

use super::*;
use crate::api::{
    CdiDevice, Hooks, KeyValue, LinuxDevice, LinuxMemory, LinuxPids, OptionalInt, OptionalInt64,
    OptionalString, OptionalUInt64,
};

fn made() -> Adjustable {
    let mut spec = Spec::default();
    spec.set_linux(Some(Linux::default()));
    let mut process = Process::default();
    process.set_env(Some(vec!["A=1".to_owned(), "B=2".to_owned()])).set_rlimits(None);
    spec.set_process(Some(process));
    spec.set_hooks(None);
    let mount =
        |place: &str| MountBuilder::default().destination(place).typ("tmpfs").source("x").build().unwrap();
    spec.set_mounts(Some(vec![mount("/dev"), mount("/dev/shm")]));
    Adjustable { spec, resources: Resources::default(), cdi_devices: Vec::new() }
}

fn adjusted(wanted: &ContainerAdjustment) -> Result<Adjustable, Refused> {
    let mut made = made();
    apply(wanted, &mut made, false).map(|()| made)
}

fn linux(linux: LinuxContainerAdjustment) -> ContainerAdjustment {
    ContainerAdjustment { linux: Some(linux), ..ContainerAdjustment::default() }
}

#[test]
fn nothing_wanted_changes_nothing() {
    assert_eq!(adjusted(&ContainerAdjustment::default()).unwrap(), made());
    assert_eq!(adjusted(&linux(LinuxContainerAdjustment::default())).unwrap(), made());
}

#[test]
fn variables_are_replaced_in_their_place() {
    let variable = |key: &str, value: &str| KeyValue { key: key.to_owned(), value: value.to_owned() };
    let env = vec![variable("-A", ""), variable("B", "3"), variable("C", "x=y")];
    let made = adjusted(&ContainerAdjustment { env, ..ContainerAdjustment::default() }).unwrap();
    assert_eq!(made.spec.process().as_ref().unwrap().env().as_ref().unwrap(), &["B=3", "C=x=y"]);
}

#[test]
fn a_mount_comes_behind_the_one_that_it_is_in() {
    let mount = |place: &str| api::Mount {
        destination: place.to_owned(),
        source: "/h".to_owned(),
        ..Default::default()
    };
    let mounts = vec![mount("-/dev/shm"), mount("/dev/x/y"), mount("/a")];
    let made = adjusted(&ContainerAdjustment { mounts, ..ContainerAdjustment::default() }).unwrap();
    let places: Vec<&Path> =
        made.spec.mounts().iter().flatten().map(|mount: &Mount| mount.destination().as_path()).collect();
    assert_eq!(places, [Path::new("/dev"), Path::new("/a"), Path::new("/dev/x/y")]);
}

#[test]
fn the_rest_goes_into_the_specification() {
    let wanted = ContainerAdjustment {
        annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        args: vec!["new".to_owned()],
        hooks: Some(Hooks {
            poststop: vec![api::Hook { path: "/h".to_owned(), ..Default::default() }],
            ..Hooks::default()
        }),
        rlimits: vec![api::PosixRlimit { r#type: "RLIMIT_NOFILE".to_owned(), hard: 9, soft: 8 }],
        cdi_devices: vec![CdiDevice { name: "v/c=d".to_owned() }],
        linux: Some(LinuxContainerAdjustment {
            devices: vec![LinuxDevice {
                path: "/dev/n".to_owned(),
                r#type: "c".to_owned(),
                major: 1,
                minor: 3,
                ..Default::default()
            }],
            oom_score_adj: Some(OptionalInt { value: -5 }),
            sysctl: BTreeMap::from([("kernel.msgmax".to_owned(), "1".to_owned())]),
            ..LinuxContainerAdjustment::default()
        }),
        ..ContainerAdjustment::default()
    };
    let made = adjusted(&wanted).unwrap();
    let process = made.spec.process().as_ref().unwrap();
    assert_eq!(made.spec.annotations().as_ref().unwrap()["a"], "b");
    assert_eq!(process.args().as_ref().unwrap(), &["new"]);
    assert_eq!(process.rlimits().as_ref().unwrap()[0].soft(), 8);
    assert_eq!(process.oom_score_adj(), Some(-5));
    assert_eq!(made.resources.oom_score_adj, Some(-5));
    assert_eq!(made.cdi_devices, ["v/c=d"]);
    assert_eq!(made.spec.hooks().as_ref().unwrap().poststop().as_ref().unwrap().len(), 1);
    let linux = made.spec.linux().as_ref().unwrap();
    assert_eq!(linux.devices().as_ref().unwrap().last().unwrap().minor(), 3);
    assert_eq!(linux.sysctl().as_ref().unwrap()["kernel.msgmax"], "1");
}

#[test]
fn limits_replace_limits() {
    let mut limits = Resources {
        memory_limit: Some(1),
        memory_swap_limit: Some(1),
        cpu_shares: Some(2),
        ..Resources::default()
    };
    let limit = |value| Some(OptionalInt64 { value });
    let wanted = api::LinuxResources {
        memory: Some(LinuxMemory { limit: limit(7), ..LinuxMemory::default() }),
        cpu: Some(api::LinuxCpu { cpus: "0".to_owned(), ..api::LinuxCpu::default() }),
        pids: Some(LinuxPids { limit: -1 }),
        ..api::LinuxResources::default()
    };
    resources(&wanted, &mut limits).unwrap();
    let expected = Resources {
        memory_limit: Some(7),
        memory_swap_limit: Some(7),
        cpu_shares: Some(2),
        cpuset_cpus: "0".to_owned(),
        pids_limit: Some(-1),
        ..Resources::default()
    };
    assert_eq!(limits, expected);
}

#[test]
fn rules_of_devices_mean_what_they_say_or_are_refused() {
    let number = |value| Some(OptionalInt64 { value });
    let rule = |major, access: &str| api::LinuxDeviceCgroup {
        allow: true,
        r#type: "c".to_owned(),
        major: number(major),
        minor: number(0),
        access: access.to_owned(),
    };
    let applied = |rule| {
        let resources = Some(api::LinuxResources { devices: vec![rule], ..Default::default() });
        adjusted(&linux(LinuxContainerAdjustment { resources, ..Default::default() }))
    };
    for (major, access) in [(-1, "rwm"), (0, "r"), (i64::from(u32::MAX), "wm")] {
        applied(rule(major, access)).unwrap();
    }
    for (major, access) in [(i64::from(u32::MAX) + 1, "rwm"), (i64::MAX, "r"), (1, "rx"), (1, "")] {
        let error = applied(rule(major, access)).unwrap_err();
        assert!(matches!(error, Refused::Invalid("resources.devices", _)), "{major} {access:?}: {error:?}");
    }
}

#[test]
fn rules_of_devices_are_for_new_containers() {
    let devices = vec![api::LinuxDeviceCgroup::default()];
    let wanted = api::LinuxResources { devices, ..Default::default() };
    let refused = update(&wanted, &mut Resources::default());
    assert!(matches!(refused, Err(Refused::Unsupported("resources.devices", _))), "{refused:?}");
    let mut limits = Resources::default();
    let pids = Some(LinuxPids { limit: 7 });
    update(&api::LinuxResources { pids, ..Default::default() }, &mut limits).unwrap();
    assert_eq!(limits.pids_limit, Some(7));
}

#[test]
fn a_limit_of_zero_is_not_set() {
    let before = Resources {
        memory_limit: Some(1),
        memory_swap_limit: Some(2),
        cpu_shares: Some(3),
        cpu_quota: Some(4),
        cpu_period: Some(5),
        ..Resources::default()
    };
    let (signed, unsigned) = (Some(OptionalInt64 { value: 0 }), Some(OptionalUInt64 { value: 0 }));
    let wanted = api::LinuxResources {
        memory: Some(LinuxMemory { limit: signed, swap: signed, ..LinuxMemory::default() }),
        cpu: Some(api::LinuxCpu {
            shares: unsigned,
            quota: signed,
            period: unsigned,
            ..api::LinuxCpu::default()
        }),
        ..api::LinuxResources::default()
    };
    for mut limits in [before, Resources::default()] {
        let expected = limits.clone();
        resources(&wanted, &mut limits).unwrap();
        assert_eq!(limits, expected);
    }
}

#[test]
fn what_there_is_not_is_refused_by_its_name() {
    let limits =
        |resources| linux(LinuxContainerAdjustment { resources: Some(resources), ..Default::default() });
    let class = Some(OptionalString { value: "gold".to_owned() });
    let cases = [
        (
            "cgroups_path",
            linux(LinuxContainerAdjustment { cgroups_path: "/x".to_owned(), ..Default::default() }),
        ),
        ("rdt", linux(LinuxContainerAdjustment { rdt: Some(Default::default()), ..Default::default() })),
        ("blockio_class", limits(api::LinuxResources { blockio_class: class.clone(), ..Default::default() })),
        ("rdt_class", limits(api::LinuxResources { rdt_class: class, ..Default::default() })),
    ];
    for (name, wanted) in cases {
        let error = EngineError::from(adjusted(&wanted).unwrap_err()).to_string();
        assert!(error.contains(&format!("NRI adjustment of {name}:")), "{name}: {error}");
    }
    let unknown = vec![api::PosixRlimit { r#type: "nofile".to_owned(), hard: 1, soft: 1 }];
    let wanted = ContainerAdjustment { rlimits: unknown, ..ContainerAdjustment::default() };
    assert!(matches!(adjusted(&wanted), Err(Refused::Invalid("rlimits", _))));
}
