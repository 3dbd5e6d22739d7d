//! Berth's default profile: everything that ordinary programs need, with the strength of containerd's
//! (2.3.1 and later, which took AF_ALG and AF_VSOCK away).
//!
//! What a capability alone would allow comes with the capability. io_uring, keyrings, userfaultfd,
//! new user namespaces and the loading of kernels are never allowed.

use std::borrow::Cow;

use super::Arch;
use super::profile::{Action, Arg, Flags, Op, Profile, Rule};

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
/// `CLONE_NEW*` of cgroup, IPC, mount, network, PID, user and UTS namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the question for what is set.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x20000, 0x20008, 0xffff_ffff];
const SYS_ADMIN: u32 = 21;

/// Calls that every container may make.
const ALLOWED: &str = "_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod \
    chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range \
    creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 \
    epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 \
    fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 \
    fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat \
    fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 \
    futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents \
    getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer \
    getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid \
    getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 \
    getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel \
    io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get \
    ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 \
    lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr \
    lsm_get_self_attr lsm_list_modules lsm_set_self_attr lstat lstat64 madvise map_shadow_stack \
    membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap \
    mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend \
    mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall \
    munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal \
    pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 \
    prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead \
    readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages \
    removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction \
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min \
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler \
    sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 \
    sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid \
    setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 \
    setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid \
    setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 \
    sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx \
    symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 \
    ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork \
    vmsplice wait4 waitid waitpid write writev \
    process_vm_readv process_vm_writev ptrace";

/// Calls that only one kind of processor has.
const X86: &str = "arch_prctl modify_ldt";
const ARM: &str = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";

/// Calls that come with a capability in the bounding set, by its number.
const BY_CAPABILITY: &[(u32, &str)] = &[
    (2, "open_by_handle_at"),
    (16, "delete_module init_module finit_module"),
    (17, "iopl ioperm"),
    (18, "chroot"),
    (19, "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    (20, "acct"),
    (
        SYS_ADMIN,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    (22, "reboot"),
    (23, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (25, "settimeofday stime clock_settime clock_settime64"),
    (26, "vhangup"),
    (34, "syslog"),
    (38, "perf_event_open"),
    (39, "bpf"),
];

/// The default profile for a container whose bounding set is `bounding` (a bit for each
/// capability), on a kernel of the architecture `native`.
pub fn default_profile(bounding: u64, native: Arch) -> Profile {
    let has = |capability: u32| bounding >> capability & 1 == 1;
    let mut rules = vec![allow(ALLOWED, None)];
    rules.push(allow(if native.family().contains(&Arch::Arm) { ARM } else { X86 }, None));
    // All address families but these two: the kernel's crypto interface, and the way to the
    // hypervisor past every network policy.
    let families = [(AF_ALG, Op::Lt), (AF_ALG + 1, Op::Eq), (AF_VSOCK, Op::Gt)];
    rules.extend(families.map(|(value, op)| allow("socket", Some(Arg { index: 0, value, op }))));
    rules.extend(PERSONALITIES.map(|value| allow("personality", Some(Arg { index: 0, value, op: Op::Eq }))));
    rules.extend(BY_CAPABILITY.iter().filter(|(cap, _)| has(*cap)).map(|(_, names)| allow(names, None)));
    if !has(SYS_ADMIN) {
        rules.push(allow("clone", Some(Arg { index: 0, value: 0, op: Op::MaskedEq(NEW_NAMESPACES) })));
        // Its flags are in memory, where no filter sees them: a program is to fall back to clone.
        rules.push(Rule { names: words("clone3"), action: Action::Errno(ENOSYS), args: Vec::new() });
    }
    Profile {
        default: Action::Errno(EPERM),
        architectures: native.family().to_vec(),
        flags: Flags { log: false, spec_allow: true },
        rules,
    }
}

fn allow(names: &'static str, arg: Option<Arg>) -> Rule {
    Rule { names: words(names), action: Action::Allow, args: arg.into_iter().collect() }
}

fn words(names: &'static str) -> Vec<Cow<'static, str>> {
    names.split_ascii_whitespace().map(Cow::Borrowed).collect()
}
