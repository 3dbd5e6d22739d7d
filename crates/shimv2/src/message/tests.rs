use prost::Message;

use super::*;

#[test]
fn methods_have_their_published_names() {
    assert_eq!(Service::Task.name(Version::V2), "containerd.task.v2.Task");
    assert_eq!(Service::Task.name(Version::V3), "containerd.task.v3.Task");
    assert_eq!(task::Resize::NAME, "ResizePty");
    assert_eq!(task::CloseIo::NAME, "CloseIO");
    assert_eq!(sandbox::State::NAME, "SandboxStatus");
    assert_eq!(sandbox::State::SERVICE.name(Version::V3), "containerd.runtime.sandbox.v1.Sandbox");
}

#[test]
fn gos_zero_time_is_not_yet() {
    let zero = Timestamp { seconds: -62_135_596_800, nanos: 0 };
    assert_eq!(zero.nanoseconds(), 0);
    assert_eq!(Timestamp { seconds: 1, nanos: 5 }.nanoseconds(), 1_000_000_005);
    assert_eq!(Timestamp { seconds: i64::MAX, nanos: 0 }.nanoseconds(), i64::MAX);
}

#[test]
fn usage_is_read_of_both_kinds_and_of_no_other() {
    let v1 = stats::V1 {
        pids: Some(stats::Pids { current: 3, limit: 9 }),
        cpu: Some(stats::V1Cpu { usage: Some(stats::V1Usage { total: 77 }) }),
        memory: Some(stats::V1Memory {
            total_inactive_file: 10,
            usage: Some(stats::V1Entry { limit: 0, usage: 100 }),
            ..stats::V1Memory::default()
        }),
    };
    let any = Any::of("io.containerd.cgroups.v1.Metrics", &v1);
    let expected =
        stats::Usage { cpu_nanos: Some(77), memory: Some(100), working_set: Some(90), pids: Some(3) };
    assert_eq!(stats::usage(&any).unwrap(), Some(expected));
    let v2 = stats::V2 {
        cpu: Some(stats::V2Cpu { usage_micros: 5 }),
        memory: Some(stats::V2Memory { usage: 1, inactive_file: 2, ..stats::V2Memory::default() }),
        ..stats::V2::default()
    };
    let any = Any::of("io.containerd.cgroups.v2.Metrics", &v2);
    let expected = stats::Usage { cpu_nanos: Some(5000), memory: Some(1), working_set: Some(0), pids: None };
    assert_eq!(stats::usage(&any).unwrap(), Some(expected));
    assert_eq!(stats::usage(&Any::of("kata.Metrics", &v2)).unwrap(), None);
    let broken = Any { type_url: "io.containerd.cgroups.v2.Metrics".into(), value: vec![0xff] };
    assert!(stats::usage(&broken).is_err());
}

#[test]
fn unknown_fields_of_newer_shims_are_passed_over() {
    let mut bytes = task::WaitAnswer { exit_status: 3, exited_at: None }.encode_to_vec();
    bytes.extend([0x7a, 2, b'n', b'w']);
    assert_eq!(task::WaitAnswer::decode(bytes.as_slice()).unwrap().exit_status, 3);
}
