use super::super::arch::Arch;
use super::super::profile::{Action, Arg, Flags, Op, Profile, SeccompError};
use super::super::{Conditions, MAX_PROFILE, compile, parse};

const HOST: Conditions = Conditions { bounding: 0, native: Arch::X86_64, kernel: (6, 1) };

fn read(text: &str, conditions: Conditions) -> Result<Profile, SeccompError> {
    parse(text.as_bytes(), conditions)
}

fn refusal(text: &str) -> String {
    let error = read(text, HOST).unwrap_err();
    berth_types::error::chain(&error)
}

const DOCKER: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
  "archMap": [
    { "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
    { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] },
    { "architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"] }
  ],
  "syscalls": [
    { "names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": {} },
    { "names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "4.8" } },
    { "names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_BPF"] } },
    { "names": ["set_tls"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["arm", "arm64"] } },
    { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
      "args": [{ "index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
      "excludes": { "caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"] } },
    { "name": "clone3", "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": { "caps": ["CAP_SYS_ADMIN"] } }
  ]
}"#;

fn names(profile: &Profile) -> Vec<&str> {
    profile.rules.iter().flat_map(|r| &r.names).map(AsRef::as_ref).collect()
}

#[test]
fn dockers_form() {
    let profile = read(DOCKER, HOST).unwrap();
    assert_eq!(profile.default, Action::Errno(38));
    assert_eq!(profile.architectures, [Arch::X86_64, Arch::X86, Arch::X32]);
    assert_eq!(names(&profile), ["read", "write", "ptrace", "clone", "clone3"]);
    assert_eq!(profile.rules[2].args, [Arg { index: 0, value: 0, op: Op::MaskedEq(0x7e02_0000) }]);
    assert_eq!(profile.rules[3].action, Action::Errno(38));
    compile(&profile, Arch::X86_64).unwrap();
    // The same text under other conditions.
    let admin = read(DOCKER, Conditions { bounding: 1 << 21 | 1 << 39, ..HOST }).unwrap();
    assert_eq!(names(&admin), ["read", "write", "ptrace", "bpf"]);
    let old = read(DOCKER, Conditions { kernel: (4, 7), ..HOST }).unwrap();
    assert_eq!(names(&old), ["read", "write", "clone", "clone3"]);
    let arm = read(DOCKER, Conditions { native: Arch::Aarch64, ..HOST }).unwrap();
    assert_eq!(arm.architectures, [Arch::Aarch64, Arch::Arm]);
    assert_eq!(names(&arm), ["read", "write", "ptrace", "set_tls", "clone", "clone3"]);
}

#[test]
fn the_oci_form() {
    let text = r#"{"defaultAction":"SCMP_ACT_KILL_PROCESS","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_RISCV64"],
        "flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC"],
        "syscalls":[{"names":["read"],"action":"SCMP_ACT_TRACE","errnoRet":9,
                     "args":[{"index":5,"value":18446744073709551615,"op":"SCMP_CMP_GE"}]}]}"#;
    let profile = read(text, HOST).unwrap();
    assert_eq!(
        (profile.default, profile.flags),
        (Action::KillProcess, Flags { log: true, spec_allow: false })
    );
    assert_eq!(profile.architectures, [Arch::X86_64]);
    assert_eq!(profile.rules[0].action, Action::Trace(9));
    assert_eq!(profile.rules[0].args, [Arg { index: 5, value: u64::MAX, op: Op::Ge }]);
    // The same from a bundle that was parsed before.
    let spec: oci_spec::runtime::LinuxSeccomp = serde_json::from_str(text).unwrap();
    assert_eq!(Profile::try_from(&spec).unwrap(), profile);
    // No list of flags at all.
    assert_eq!(read(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, HOST).unwrap().flags.bits(), 4);
}

#[test]
fn everything_else_is_refused_with_its_place() {
    let with = |call: &str| format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{call}]}}"#);
    for (text, said) in [
        ("", "malformed"),
        ("[]", "malformed"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","sysCalls":[]}"#, "unknown field `sysCalls`"),
        (r#"{"syscalls":[]}"#, "missing field `defaultAction`"),
        (r#"{"defaultAction":"ALLOW"}"#, "defaultAction: unknown action \"ALLOW\""),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "defaultAction SCMP_ACT_NOTIFY is not supported"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#,
            "defaultErrnoRet: SCMP_ACT_ALLOW returns no error",
        ),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":70000}"#, "defaultErrnoRet: 70000"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_VAX"]}"#,
            "architectures[0]: unknown architecture \"SCMP_ARCH_VAX\"",
        ),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#, "flags[0]: unknown flag \"X\""),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#,
            "flags[0] SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is not supported",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
            "archMap: cannot be combined with architectures",
        ),
        (&with(r#"{"action":"SCMP_ACT_ERRNO"}"#), "syscalls[0].names: is empty"),
        (
            &with(r#"{"name":"a","names":["b"],"action":"SCMP_ACT_ERRNO"}"#),
            "syscalls[0]: has both name and names",
        ),
        (
            &with(r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#),
            "syscalls[0].action SCMP_ACT_NOTIFY is not supported",
        ),
        (&with(r#"{"names":["read"],"action":"SCMP_ACT_KILL","errnoRet":1}"#), "syscalls[0].errnoRet"),
        (
            &with(
                r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#,
            ),
            "syscalls[0].args[0].index: 6 is more than 5",
        ),
        (
            &with(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":0,"op":"EQ"}]}"#),
            "syscalls[0].args[0].op: unknown operator \"EQ\"",
        ),
        (
            &with(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_FLY"]}}"#),
            "syscalls[0].excludes.caps[0]: unknown capability \"CAP_FLY\"",
        ),
        (
            &with(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","includes":{"minKernel":"new"}}"#),
            "syscalls[0].includes.minKernel",
        ),
        (&with(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","include":{}}"#), "unknown field `include`"),
    ] {
        let error = refusal(text);
        assert!(error.contains(said), "{text}: {error}");
    }
    let long = vec![b' '; MAX_PROFILE + 1];
    assert!(matches!(parse(&long, HOST).unwrap_err(), SeccompError::TooLarge(_)));
}
