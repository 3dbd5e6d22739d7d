use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxSchedulerFlag as Flag, LinuxSchedulerPolicy as Policy, LinuxSeccompAction,
    LinuxSeccompOperator, MemoryPolicyFlagType, MemoryPolicyModeType,
};

use super::*;

fn made(wanted: &LinuxContainerAdjustment) -> Result<(Spec, Process), Refused> {
    let (mut spec, mut process) = (Spec::default(), Process::default());
    spec.set_linux(Some(Linux::default()));
    process.set_scheduler(Some(Scheduler::default()));
    apply(wanted, &mut spec, &mut process).map(|()| (spec, process))
}

fn scheduled(scheduler: api::LinuxScheduler) -> Result<Option<Scheduler>, Refused> {
    let wanted = LinuxContainerAdjustment { scheduler: Some(scheduler), ..Default::default() };
    made(&wanted).map(|(_, process)| process.scheduler().clone())
}

fn place<T: std::fmt::Debug>(refused: Result<T, Refused>) -> &'static str {
    match refused.unwrap_err() {
        Refused::Unsupported(field, _) | Refused::Invalid(field, _) => field,
    }
}

#[test]
fn a_scheduler_has_the_words_of_the_specification() {
    for policy in 1..=7 {
        let made = scheduled(api::LinuxScheduler { policy, flags: (0..=6).collect(), ..Default::default() });
        let made = made.unwrap().unwrap();
        assert_eq!(made.policy().to_string(), LinuxSchedulerPolicy::try_from(policy).unwrap().as_str_name());
        assert_eq!(made.flags().as_ref().unwrap().len(), 7);
    }
    let fifo = api::LinuxScheduler { policy: 2, nice: -1, priority: 7, ..Default::default() };
    let fifo = scheduled(fifo).unwrap().unwrap();
    assert_eq!((*fifo.policy(), *fifo.nice(), *fifo.priority()), (Policy::SchedFifo, Some(-1), Some(7)));
    let times = api::LinuxScheduler {
        policy: 7,
        flags: vec![0],
        runtime: 1,
        deadline: 2,
        period: u64::MAX,
        ..Default::default()
    };
    let times = scheduled(times).unwrap().unwrap();
    assert_eq!((*times.runtime(), *times.deadline(), *times.period()), (Some(1), Some(2), Some(u64::MAX)));
    assert_eq!(times.flags().as_deref(), Some(&[Flag::SchedResetOnFork][..]));
    assert_eq!(scheduled(api::LinuxScheduler::default()), Ok(None));
    assert_eq!(place(scheduled(api::LinuxScheduler { policy: 8, ..Default::default() })), "scheduler");
    let flags = api::LinuxScheduler { policy: 1, flags: vec![7], ..Default::default() };
    assert_eq!(place(scheduled(flags)), "scheduler");
}

#[test]
fn an_io_priority_has_a_class_or_takes_one_back() {
    let of = |class, priority| {
        let io_priority = Some(api::LinuxIoPriority { class, priority });
        made(&LinuxContainerAdjustment { io_priority, ..Default::default() })
            .map(|(_, process)| process.io_priority().as_ref().map(|of| (of.class(), of.priority())))
    };
    assert_eq!(of(0, 3), Ok(None));
    assert_eq!(of(1, 3), Ok(Some((IOPriorityClass::IoprioClassRt, 3))));
    assert_eq!(of(3, 7), Ok(Some((IOPriorityClass::IoprioClassIdle, 7))));
    assert_eq!(place(of(4, 0)), "io_priority");
}

#[test]
fn a_memory_policy_has_every_mode_and_flag() {
    let of = |mode, flags: &[i32]| {
        let policy = api::LinuxMemoryPolicy { mode, nodes: "0-1".to_owned(), flags: flags.to_vec() };
        made(&LinuxContainerAdjustment { memory_policy: Some(policy), ..Default::default() })
            .map(|(spec, _)| spec.linux().as_ref().unwrap().memory_policy().clone().unwrap())
    };
    for mode in 0..=6 {
        assert_eq!(
            of(mode, &[]).unwrap().mode().to_string(),
            MpolMode::try_from(mode).unwrap().as_str_name()
        );
    }
    let made = of(2, &[0, 1, 2]).unwrap();
    assert_eq!((made.mode(), made.nodes().as_deref()), (MemoryPolicyModeType::MpolBind, Some("0-1")));
    assert_eq!(made.flags().as_ref().unwrap()[0], MemoryPolicyFlagType::MpolFStaticNodes);
    assert_eq!(place(of(7, &[])), "memory_policy");
    assert_eq!(place(of(0, &[3])), "memory_policy");
}

#[test]
fn a_seccomp_policy_is_that_of_a_bundle() {
    let of = |policy| {
        made(&LinuxContainerAdjustment { seccomp_policy: Some(policy), ..Default::default() })
            .map(|(spec, _)| spec.linux().as_ref().unwrap().seccomp().clone().unwrap())
    };
    let policy = || api::LinuxSeccomp {
        default_action: "SCMP_ACT_ALLOW".to_owned(),
        architectures: vec!["SCMP_ARCH_X86_64".to_owned()],
        flags: vec!["SECCOMP_FILTER_FLAG_LOG".to_owned()],
        syscalls: vec![api::LinuxSyscall {
            names: vec!["mkdir".to_owned()],
            action: "SCMP_ACT_ERRNO".to_owned(),
            errno_ret: Some(api::OptionalUInt32 { value: 7 }),
            args: vec![api::LinuxSeccompArg {
                index: 1,
                value: 2,
                value_two: 3,
                op: "SCMP_CMP_EQ".to_owned(),
            }],
        }],
        ..Default::default()
    };
    let made = of(policy()).unwrap();
    assert_eq!((made.default_action(), made.default_errno_ret()), (LinuxSeccompAction::ScmpActAllow, None));
    let call = &made.syscalls().as_ref().unwrap()[0];
    assert_eq!((call.names().as_slice(), call.errno_ret()), (&["mkdir".to_owned()][..], Some(7)));
    let argument = &call.args().as_ref().unwrap()[0];
    assert_eq!((argument.index(), argument.value(), argument.op()), (1, 2, LinuxSeccompOperator::ScmpCmpEq));
    let wrong = [
        api::LinuxSeccomp::default(),
        api::LinuxSeccomp { architectures: vec!["vax".to_owned()], ..policy() },
        api::LinuxSeccomp { listener_path: "/run/x".to_owned(), ..policy() },
    ];
    for wrong in wrong {
        assert_eq!(place(of(wrong)), "seccomp_policy");
    }
}
