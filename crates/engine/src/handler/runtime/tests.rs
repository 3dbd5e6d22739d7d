use oci_spec::runtime::{Linux, LinuxIOPriority, LinuxMemoryPolicy, Scheduler};

use super::*;

#[test]
fn what_runtimes_pass_over_in_silence_is_refused_by_name() {
    let spec = |process: Process, linux: Linux| {
        let mut spec = Spec::default();
        spec.set_process(Some(process)).set_linux(Some(linux));
        spec
    };
    let (mut scheduled, mut ranked, mut placed) = (Process::default(), Process::default(), Linux::default());
    scheduled.set_scheduler(Some(Scheduler::default()));
    ranked.set_io_priority(Some(LinuxIOPriority::default()));
    placed.set_memory_policy(Some(LinuxMemoryPolicy::default()));
    let cases = [
        ("scheduler", spec(scheduled, Linux::default())),
        ("io_priority", spec(ranked, Linux::default())),
        ("memory_policy", spec(Process::default(), placed)),
    ];
    for (name, spec) in cases {
        for maker in Maker::ALL {
            match refuse_scheduling(maker, &spec) {
                Ok(()) => assert_eq!(maker, Maker::Native, "{name}"),
                Err(error) => assert!(error.to_string().contains(name), "{error}"),
            }
        }
    }
    for maker in Maker::ALL {
        refuse_scheduling(maker, &spec(Process::default(), Linux::default())).unwrap();
    }
}
