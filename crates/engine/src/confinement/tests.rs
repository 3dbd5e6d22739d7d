use berth_types::{Classify, Kind};

use super::*;
use crate::model::{Mount, SelinuxLabel};
use crate::oci::test_container;

fn host(selinux: bool) -> HostFacts {
    HostFacts {
        capabilities: 0,
        least_oom_score: 0,
        hostname: String::new(),
        unified: true,
        accounts_swap: true,
        limits_hugepages: true,
        selinux,
    }
}

/// What a container with this label comes to.
fn asked(security: ContainerSecurity, relabel: bool, host: &HostFacts) -> Result<(), (Kind, String)> {
    let mount = Mount { selinux_relabel: relabel, ..Mount::new("/h", "/c") };
    let config = ContainerConfig { security, mounts: vec![mount], ..test_container() };
    container(&config, host).map_err(|e| (e.kind(), e.to_string()))
}

/// What a container gets that asks for this profile, where AppArmor is off (None) or on: whether the profile is loaded,
/// and whether the shim can set it.
fn gets(profile: Option<&str>, privileged: bool, on: Option<(bool, bool)>) -> String {
    let apparmor = profile.map(str::to_owned);
    let security = ContainerSecurity { apparmor, privileged, ..ContainerSecurity::default() };
    let has = match on {
        None => Has::Nothing,
        Some((loaded, shim_can)) => {
            Has::AppArmor { loaded: if loaded { Ok(()) } else { Err("it is gone".to_owned()) }, shim_can }
        }
    };
    match decide(wanted(&security), has) {
        Ok(Given::Nothing) => "nothing".to_owned(),
        Ok(Given::Profile(name)) => name,
        Ok(Given::Without(why)) => format!("without: {why}"),
        Err(error) => {
            assert_eq!(error.kind(), Kind::Unsupported);
            let text = error.to_string();
            assert!(text.starts_with("apparmor: "), "{text}");
            format!("refused: {text}")
        }
    }
}

#[test]
fn every_word_about_apparmor_on_every_host() {
    let off = None;
    let (ready, missing) = (Some((true, true)), Some((false, true)));
    let (old_shim, neither) = (Some((true, false)), Some((false, false)));
    let hosts = [off, ready, missing, old_shim, neither];
    let table: [(Option<&str>, bool, [&str; 5]); 8] = [
        (
            None,
            false,
            ["nothing", DEFAULT_PROFILE, "without: it is gone", "without: the shim", "without: it is gone"],
        ),
        (None, true, ["nothing"; 5]),
        (
            Some(APPARMOR_DEFAULT),
            false,
            ["nothing", DEFAULT_PROFILE, "refused: ", DEFAULT_PROFILE, "refused: "],
        ),
        (Some(APPARMOR_DEFAULT), true, ["nothing"; 5]),
        (Some(APPARMOR_UNCONFINED), false, ["nothing"; 5]),
        (Some(APPARMOR_UNCONFINED), true, ["nothing"; 5]),
        (Some("mine"), false, ["refused: ", "mine", "refused: ", "mine", "refused: "]),
        (Some("mine"), true, ["refused: ", "mine", "refused: ", "mine", "refused: "]),
    ];
    for (profile, privileged, wanted) in table {
        for (on, wanted) in hosts.into_iter().zip(wanted) {
            let got = gets(profile, privileged, on);
            assert!(got.starts_with(wanted), "{profile:?}, privileged {privileged}, {on:?}: {got}");
        }
    }
    assert!(gets(Some("mine"), false, off).contains("\"mine\" needs AppArmor"));
    // By its name the default profile is no other one.
    assert_eq!(
        wanted(&ContainerSecurity { apparmor: Some(DEFAULT_PROFILE.to_owned()), ..Default::default() }),
        Wanted::Default { asked: true }
    );
}

#[test]
fn a_module_in_force_says_what_it_does() {
    let loading = of_apparmor(None);
    assert!(!loading.confined && loading.reason == "DefaultProfileLoading");
    let loaded = of_apparmor(Some(&Ok(())));
    assert!(loaded.confined && loaded.message.contains(DEFAULT_PROFILE));
    let failed = of_apparmor(Some(&Err("no parser".to_owned())));
    assert!(!failed.confined && failed.message.ends_with("without one: no parser"), "{failed:?}");
    assert_eq!(of_selinux(&host(false)), None);
    assert!(!of_selinux(&host(true)).unwrap().confined);
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
        sandbox(&security, &host(in_force)).map_err(|e| e.to_string())
    };
    let (off, on) = (host(false), host(true));
    assert_eq!(asked(label(false), true, &off), Ok(()));
    assert_eq!(sandbox_with(false), Ok(()));
    assert!(asked(label(false), false, &on).unwrap_err().1.starts_with("selinux_options: "));
    assert_eq!(asked(label(true), false, &on), Ok(()), "it has no effect on the privileged");
    assert_eq!(asked(ContainerSecurity::default(), false, &on), Ok(()), "nothing is asked for");
    let relabel = asked(ContainerSecurity::default(), true, &on).unwrap_err().1;
    assert!(relabel.starts_with("mounts.selinux_relabel: "), "{relabel}");
    assert!(sandbox_with(true).unwrap_err().starts_with("selinux_options: "));
}
