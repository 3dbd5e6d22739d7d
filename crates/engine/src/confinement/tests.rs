use berth_types::{Classify, Kind};

use super::*;
use crate::model::{Mount, Propagation, SelinuxLabel};
use crate::oci::test_container;

fn host(apparmor: bool, selinux: bool) -> HostFacts {
    HostFacts {
        capabilities: 0,
        least_oom_score: 0,
        hostname: String::new(),
        unified: true,
        accounts_swap: true,
        apparmor,
        selinux,
    }
}

/// What is enabled, and the result for a container with this profile or label.
fn asked(security: ContainerSecurity, relabel: bool, host: &HostFacts) -> Result<(), (Kind, String)> {
    let mount = Mount {
        container_path: "/c".into(),
        host_path: "/h".into(),
        readonly: false,
        recursive_readonly: false,
        propagation: Propagation::Private,
        selinux_relabel: relabel,
    };
    let config = ContainerConfig { security, mounts: vec![mount], ..test_container() };
    container(&config, host).map_err(|e| (e.kind(), e.to_string()))
}

#[test]
fn a_container_that_asks_for_nothing_runs_on_every_host() {
    for apparmor in [false, true] {
        for selinux in [false, true] {
            let host = host(apparmor, selinux);
            for privileged in [false, true] {
                let security = ContainerSecurity { privileged, ..ContainerSecurity::default() };
                assert_eq!(asked(security, false, &host), Ok(()));
            }
            // And where it is unconfined, the status says so.
            let told: Vec<_> = unconfined(&host).iter().map(|u| u.module).collect();
            let want = [("AppArmor", apparmor), ("SELinux", selinux)];
            let want: Vec<_> = want.iter().filter(|(_, on)| *on).map(|(module, _)| *module).collect();
            assert_eq!(told, want);
        }
    }
}

#[test]
fn a_profile_that_would_not_be_set_is_refused() {
    let profile = |profile: &str, privileged, in_force| {
        let security = ContainerSecurity {
            apparmor: Some(profile.to_owned()),
            privileged,
            ..ContainerSecurity::default()
        };
        asked(security, false, &host(in_force, false))
    };
    for in_force in [false, true] {
        for privileged in [false, true] {
            assert_eq!(profile(APPARMOR_UNCONFINED, privileged, in_force), Ok(()));
            let (kind, text) = profile("mine", privileged, in_force).unwrap_err();
            assert!(kind == Kind::Unsupported && text.starts_with("apparmor: "), "{text}");
        }
        assert_eq!(profile(APPARMOR_DEFAULT, true, in_force), Ok(()));
    }
    assert_eq!(profile(APPARMOR_DEFAULT, false, false), Ok(()));
    assert_eq!(profile(APPARMOR_DEFAULT, false, true).unwrap_err().0, Kind::Unsupported);
}

#[test]
fn a_label_that_would_not_be_set_is_refused() {
    let label = |privileged| ContainerSecurity {
        selinux: Some(SelinuxLabel::default()),
        privileged,
        ..ContainerSecurity::default()
    };
    let sandbox_with = |in_force| {
        let security = SandboxSecurity { privileged: false, selinux: Some(SelinuxLabel::default()) };
        sandbox(&security, &host(false, in_force)).map_err(|e| e.to_string())
    };
    let (off, on) = (host(false, false), host(false, true));
    assert_eq!(asked(label(false), true, &off), Ok(()));
    assert_eq!(sandbox_with(false), Ok(()));
    assert!(asked(label(false), false, &on).unwrap_err().1.starts_with("selinux_options: "));
    assert_eq!(asked(label(true), false, &on), Ok(()), "it has no effect on the privileged");
    let relabel = asked(ContainerSecurity::default(), true, &on).unwrap_err().1;
    assert!(relabel.starts_with("mounts.selinux_relabel: "), "{relabel}");
    assert!(sandbox_with(true).unwrap_err().starts_with("selinux_options: "));
}
