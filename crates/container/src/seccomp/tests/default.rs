use super::super::arch::Arch;
use super::super::profile::Action;
use super::super::{Cache, Conditions, compile, default_profile};
use super::machine::{Call, check, run};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn ask(bounding: u64, arch: Arch, name: &str, first: u64) -> u32 {
    let native = if arch == Arch::Arm {
        Arch::Aarch64
    } else if arch == Arch::Aarch64 {
        arch
    } else {
        Arch::X86_64
    };
    let program = compile(&default_profile(bounding, native), native).unwrap();
    let number = arch.number(name).unwrap();
    run(&program.instructions, &Call { audit: arch.audit(), number, args: [first, 0, 0, 0, 0, 0] }).0
}

#[test]
fn it_is_short_and_its_search_is_shallow() {
    for native in [Arch::X86_64, Arch::Aarch64] {
        for bounding in [0, u64::MAX] {
            let program = compile(&default_profile(bounding, native), native).unwrap();
            check(&program.instructions);
            assert!(program.instructions.len() < 700, "{} instructions", program.instructions.len());
            for number in 0..500 {
                let call = Call { audit: native.audit(), number, args: [0; 6] };
                assert!(run(&program.instructions, &call).1 <= 20, "call {number}");
            }
        }
    }
}

#[test]
fn what_ordinary_programs_do_is_allowed() {
    for name in
        ["read", "execve", "mmap", "futex", "openat", "fork", "ptrace", "mseal", "statmount", "arch_prctl"]
    {
        assert_eq!(ask(0, Arch::X86_64, name, 0), ALLOW, "{name}");
    }
    for name in ["read", "execve", "openat"] {
        assert_eq!(ask(0, Arch::Aarch64, name, 0), ALLOW, "{name}");
    }
    assert_eq!(ask(0, Arch::Arm, "arm_sync_file_range", 0), ALLOW);
    assert_eq!(ask(0, Arch::Arm, "set_tls", 0), ALLOW);
}

#[test]
fn what_leads_out_is_denied() {
    let denied = [
        "mount",
        "umount2",
        "unshare",
        "setns",
        "bpf",
        "keyctl",
        "add_key",
        "request_key",
        "userfaultfd",
        "io_uring_setup",
        "kexec_load",
        "init_module",
        "open_by_handle_at",
        "perf_event_open",
        "reboot",
        "swapon",
        "chroot",
        "pivot_root",
        "settimeofday",
        "acct",
        "quotactl",
        "move_mount",
        "fsopen",
        "mount_setattr",
    ];
    for name in denied {
        assert_eq!(ask(0, Arch::X86_64, name, 0), EPERM, "{name}");
    }
    assert_eq!(ask(0, Arch::X86_64, "clone3", 0), ENOSYS);
}

#[test]
fn namespaces_need_the_capability() {
    for flag in [0x2_0000u64, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        assert_eq!(ask(0, Arch::X86_64, "clone", flag | 17), EPERM, "{flag:#x}");
        assert_eq!(ask(1 << 21, Arch::X86_64, "clone", flag | 17), ALLOW, "{flag:#x}");
    }
    assert_eq!(ask(0, Arch::X86_64, "clone", 0x0100 | 17), ALLOW);
    assert_eq!(ask(1 << 21, Arch::X86_64, "clone3", 0), ALLOW);
}

#[test]
fn a_capability_brings_its_calls() {
    for (capability, name) in [
        (2, "open_by_handle_at"),
        (16, "init_module"),
        (17, "iopl"),
        (18, "chroot"),
        (19, "kcmp"),
        (20, "acct"),
        (21, "mount"),
        (22, "reboot"),
        (23, "mbind"),
        (25, "settimeofday"),
        (26, "vhangup"),
        (34, "syslog"),
        (38, "perf_event_open"),
        (39, "bpf"),
    ] {
        assert_eq!(ask(0, Arch::X86_64, name, 0), EPERM, "{name}");
        assert_eq!(ask(1 << capability, Arch::X86_64, name, 0), ALLOW, "{name}");
    }
}

#[test]
fn families_and_personalities() {
    for (family, answer) in
        [(1, ALLOW), (2, ALLOW), (16, ALLOW), (38, EPERM), (39, ALLOW), (40, EPERM), (41, ALLOW)]
    {
        assert_eq!(ask(u64::MAX, Arch::X86_64, "socket", family), answer, "family {family}");
        assert_eq!(ask(0, Arch::X86, "socket", family), answer, "family {family}");
    }
    for (persona, answer) in
        [(0, ALLOW), (8, ALLOW), (0x20008, ALLOW), (0xffff_ffff, ALLOW), (0x40000, EPERM)]
    {
        assert_eq!(ask(u64::MAX, Arch::X86_64, "personality", persona), answer, "{persona:#x}");
    }
}

#[test]
fn a_cache_compiles_once() {
    let cache = Cache::default();
    let conditions = Conditions { bounding: 0, native: Arch::X86_64, kernel: (6, 1) };
    let first = cache.default_profile(conditions).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &cache.default_profile(conditions).unwrap()));
    let other = cache.default_profile(Conditions { bounding: 1 << 21, ..conditions }).unwrap();
    assert_ne!(first.instructions, other.instructions);
    let text = br#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
    let parsed = cache.json(text, conditions).unwrap();
    assert!(std::sync::Arc::ptr_eq(&parsed, &cache.json(text, conditions).unwrap()));
    let call = Call { audit: Arch::X86_64.audit(), number: 0, args: [0; 6] };
    assert_eq!(run(&parsed.instructions, &call).0, Action::Allow.code());
    // Bounded: what is used stays, what is not is evicted.
    for bounding in 0..200 {
        cache.default_profile(Conditions { bounding, ..conditions }).unwrap();
        assert!(std::sync::Arc::ptr_eq(&parsed, &cache.json(text, conditions).unwrap()));
    }
    assert!(!std::sync::Arc::ptr_eq(
        &other,
        &cache.default_profile(Conditions { bounding: 1 << 21, ..conditions }).unwrap()
    ));
    assert_eq!(other.encode().filter.len(), other.instructions.len());
}
