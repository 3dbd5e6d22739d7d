use super::*;

/// struct sock_filter as the plan carries it.
fn insn(code: u16, jt: u8, jf: u8, k: u32) -> u64 {
    let (code, k) = (code.to_ne_bytes(), k.to_ne_bytes());
    u64::from_ne_bytes([code[0], code[1], jt, jf, k[0], k[1], k[2], k[3]])
}

/// A filter that forbids these calls and allows all others.
fn forbids(numbers: &[u32]) -> Vec<u64> {
    let mut filter = vec![insn(0x20, 0, 0, 0)];
    for number in numbers {
        filter.extend([insn(0x15, 0, 1, *number), insn(0x06, 0, 0, 0x5_0001)]);
    }
    filter.push(insn(0x06, 0, 0, 0x7fff_0000));
    filter
}

#[test]
fn every_case_of_when_a_filter_is_loaded() {
    let case =
        |sibling, terminal, no_new_privileges| Case { sibling, terminal, door: false, no_new_privileges };
    use When::{BeforeSibling, BeforeWait, Last};
    // What is forbidden, and then: with no_new_privs; without, alone; without, as a sibling; the same with a terminal.
    let table: &[(&[u32], [When; 4])] = &[
        (&[], [BeforeWait, BeforeWait, BeforeSibling, BeforeSibling]),
        (&[call::READ], [Last, Last, Last, Last]),
        (&[call::SENDMSG], [Last, Last, Last, Last]),
        (&[call::SENDTO], [Last, Last, Last, Last]),
        (&[call::EXIT], [Last, Last, Last, Last]),
        (&[call::CAPSET], [BeforeWait, Last, Last, Last]),
        (&[call::CLONE], [BeforeWait, BeforeWait, Last, Last]),
        (&[call::SETSID], [BeforeWait, BeforeWait, Last, Last]),
        (&[call::PRLIMIT], [BeforeWait, BeforeWait, Last, Last]),
        (&[call::WRITE], [BeforeWait, BeforeWait, Last, Last]),
        (&[call::CLOSE_RANGE], [BeforeWait, BeforeWait, Last, Last]),
        (&[call::IOCTL], [BeforeWait, BeforeWait, BeforeSibling, Last]),
    ];
    for (numbers, expected) in table {
        let filter = forbids(numbers);
        let cases = [
            case(true, true, true),
            case(false, true, false),
            case(true, false, false),
            case(true, true, false),
        ];
        assert_eq!(cases.map(|c| when(&filter, c)), *expected, "{numbers:?}");
        assert_eq!(when(&filter, case(false, false, true)), expected[0], "{numbers:?}");
    }
}

#[cfg(feature = "plan")]
#[test]
fn the_default_profile_is_taken_on_before_a_process_can_be_seen() {
    let Some(native) = crate::seccomp::Arch::native() else { return };
    for capabilities in [0, u64::MAX] {
        let profile = crate::seccomp::default_profile(capabilities, native);
        let filter = crate::seccomp::compile(&profile, native).expect("compiles").encode().filter;
        let case = Case { sibling: true, terminal: true, door: false, no_new_privileges: false };
        assert_eq!(when(&filter, case), When::BeforeSibling);
        // It forbids new namespaces: the arguments count.
        assert_eq!(passes(&filter, call::CLONE, 0x1000_0000), capabilities != 0);
    }
}

#[test]
fn what_is_no_filter_lets_nothing_pass() {
    for filter in [
        vec![],
        vec![insn(0x20, 0, 0, 64)],
        vec![insn(0x99, 0, 0, 0)],
        vec![insn(0x05, 0, 0, u32::MAX)],
        vec![insn(0x15, 9, 9, 0)],
        vec![insn(0x06, 0, 0, 0)],
    ] {
        assert!(!passes(&filter, call::READ, 0), "{filter:?}");
    }
    assert!(passes(&[insn(0x06, 0, 0, 0x7ffc_0000)], call::READ, 0), "logged and allowed");
}
