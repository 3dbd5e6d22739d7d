use berth_engine::CgroupDriver as Engines;

use super::*;

fn given(driver: Option<CgroupDriver>, root: Option<&str>) -> Result<Cgroups, String> {
    Cgroups::of("x-y").given(driver, root.map(str::to_owned)).map_err(|e| e.to_string())
}

#[test]
fn a_root_chooses_the_manager_whose_form_it_has() {
    use CgroupDriver::{Auto, Cgroupfs, Systemd};
    for (driver, root, want) in [
        (None, None, (Engines::Auto, "/berth-x-y", "berth_x_y.slice")),
        (Some(Auto), None, (Engines::Auto, "/berth-x-y", "berth_x_y.slice")),
        (Some(Systemd), None, (Engines::Systemd, "/berth-x-y", "berth_x_y.slice")),
        (None, Some("/mine"), (Engines::Cgroupfs, "/mine", "berth_x_y.slice")),
        (Some(Auto), Some("a-b.slice"), (Engines::Systemd, "/berth-x-y", "a-b.slice")),
        (Some(Systemd), Some("/a.slice/a-b.slice"), (Engines::Systemd, "/berth-x-y", "a-b.slice")),
        (Some(Cgroupfs), Some("/a.slice"), (Engines::Cgroupfs, "/a.slice", "berth_x_y.slice")),
    ] {
        let got = given(driver, root).unwrap();
        assert_eq!((got.driver, got.root.as_str(), got.slice.as_str()), want, "{driver:?} {root:?}");
    }
    for (driver, root, why) in [
        (Some(Systemd), "/mine", "needs a slice"),
        (Some(Systemd), "/x/a-b.slice", "lies at /a.slice/a-b.slice"),
        (None, "mine", "below /"),
        (None, "/../x", "below /"),
        (None, "/", "below /"),
    ] {
        let error = given(driver, Some(root)).unwrap_err();
        assert!(error.contains(why) && error.contains("--cgroup-root"), "{root}: {error}");
    }
}

#[test]
fn what_a_running_daemon_has_is_taken() {
    let mut cgroups = Cgroups::of("");
    cgroups.adopt("systemd", "a.slice".to_owned());
    assert_eq!((cgroups.driver, cgroups.slice.as_str()), (Engines::Systemd, "a.slice"));
    cgroups.adopt("cgroupfs", "/a".to_owned());
    assert_eq!((cgroups.driver, cgroups.root.as_str()), (Engines::Cgroupfs, "/a"));
}
