use std::fs;

use rustix::event::{PollFd, PollFlags, poll};

use super::*;

const LONG: Duration = Duration::from_secs(10);

/// Whether one of the descriptors becomes readable.
fn heard(fds: &[OwnedFd], limit: Duration) -> bool {
    let mut polled: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let limit = Timespec::try_from(limit).unwrap();
    let any = poll(&mut polled, Some(&limit)).unwrap() > 0;
    drop(polled);
    for fd in fds {
        drain(fd);
    }
    any
}

#[test]
fn a_directory_is_followed_from_before_it_exists_to_after_it_is_made_again() {
    let top = tempfile::tempdir().unwrap();
    let conf = top.path().join("etc/cni/net.d");
    let watch = Watch::new().unwrap();
    let fds = watch.descriptors().unwrap();
    let look = || assert!(watch.watch(&[&conf]));
    let step = |what: &str, change: &dyn Fn()| {
        look();
        heard(&fds, Duration::ZERO);
        change();
        assert!(heard(&fds, LONG), "{what}");
    };
    for round in 0..2 {
        step("the first part is made", &|| fs::create_dir(top.path().join("etc")).unwrap());
        step("the rest is made at once", &|| fs::create_dir_all(&conf).unwrap());
        let file = conf.join("10.conflist");
        step("a file is made", &|| fs::write(&file, "{").unwrap());
        step("it is changed", &|| fs::write(&file, "{}").unwrap());
        step("it is replaced", &|| {
            fs::write(conf.join("new"), "{}").unwrap();
            fs::rename(conf.join("new"), &file).unwrap();
        });
        step("its mode is changed", &|| {
            fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        });
        step("it is removed", &|| fs::remove_file(&file).unwrap());
        step("the directory is renamed", &|| fs::rename(&conf, conf.with_extension("old")).unwrap());
        step("everything is removed", &|| fs::remove_dir_all(top.path().join("etc")).unwrap());
        assert!(!conf.exists(), "round {round}");
    }
}

#[test]
fn what_is_no_longer_wanted_is_not_heard() {
    let top = tempfile::tempdir().unwrap();
    let (a, b) = (top.path().join("a"), top.path().join("b"));
    fs::create_dir(&a).unwrap();
    fs::create_dir(&b).unwrap();
    let watch = Watch::new().unwrap();
    let fds = watch.descriptors().unwrap();
    assert!(watch.watch(&[&a, &b]) && watch.watch(&[&a]));
    heard(&fds, Duration::ZERO);
    fs::write(b.join("x"), "").unwrap();
    assert!(!heard(&fds, Duration::ZERO));
    fs::write(a.join("x"), "").unwrap();
    assert!(heard(&fds, LONG));
}

#[test]
fn the_clock_runs_when_it_is_asked_to() {
    let watch = Watch::new().unwrap();
    let fds = watch.descriptors().unwrap();
    watch.look_every(Some(Duration::from_millis(10)), true);
    assert!(heard(&fds, LONG) && heard(&fds, LONG));
    watch.look_every(None, true);
    heard(&fds, Duration::ZERO);
    assert!(!heard(&fds, Duration::from_millis(50)));
}
