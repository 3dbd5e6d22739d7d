//! The default filter in the kernel, on one thread of this process.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};

use super::super::{Arch, Cache, Conditions};

#[test]
fn the_kernel_loads_and_applies_the_filter() {
    let Ok(conditions) = Conditions::of_host(0) else {
        eprintln!(
            "skipped: the_kernel_loads_and_applies_the_filter: no system call table for this architecture"
        );
        return;
    };
    assert!(conditions.kernel >= (5, 10) && Arch::native() == Some(conditions.native));
    let program = Cache::default().default_profile(conditions).unwrap().encode();
    // Without TSYNC a filter holds for the thread that loads it.
    let thread = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        let before = rustix::process::chroot("/");
        berth_sys::process::load_seccomp(&program.filter, program.flags).unwrap();
        let open = |family| socket(AddressFamily::from_raw(family), SocketType::STREAM, None).map(drop);
        (before, rustix::process::chroot("/"), open(2), open(1), open(38), open(40))
    });
    let (before, chroot, inet, unix, alg, vsock) = thread.join().unwrap();
    assert_eq!((inet, unix, alg, vsock), (Ok(()), Ok(()), Err(Errno::PERM), Err(Errno::PERM)));
    assert_eq!(chroot, Err(Errno::PERM));
    // As root it is the filter that said no.
    assert_eq!(before.is_ok(), rustix::process::geteuid().is_root());
}
