//! Security contexts and profiles.

use berth_engine::model::{
    APPARMOR_DEFAULT, APPARMOR_UNCONFINED, ContainerSecurity, GroupsPolicy, SandboxSecurity, SeccompChoice,
    SelinuxLabel, User,
};

use super::known;
use crate::api;
use crate::error::FieldError;

use api::security_profile::ProfileType;

/// A numeric user or group id.
pub(crate) fn id(field: &str, value: i64) -> Result<u32, FieldError> {
    // -1 as u32 means "no change" to the kernel, so it is not an id.
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| FieldError::invalid(field, format!("{value} is not a user or group id")))
}

/// The seccomp profile: the current message, or the deprecated path.
fn seccomp(
    field: &str,
    profile: Option<&api::SecurityProfile>,
    path: &str,
) -> Result<SeccompChoice, FieldError> {
    let Some(profile) = profile else { return seccomp_path(field, path) };
    let kind = known(format!("{field}.profile_type"), profile.profile_type)?;
    unused_reference(field, kind, profile)?;
    match kind {
        ProfileType::RuntimeDefault => Ok(SeccompChoice::Default),
        ProfileType::Unconfined => Ok(SeccompChoice::Unconfined),
        ProfileType::Localhost if profile.localhost_ref.starts_with('/') => {
            Ok(SeccompChoice::Localhost(profile.localhost_ref.clone().into()))
        }
        ProfileType::Localhost => Err(FieldError::invalid(
            format!("{field}.localhost_ref"),
            format!("{:?} is not an absolute path", profile.localhost_ref),
        )),
    }
}

/// The name of a profile beside a type that needs none would be ignored.
fn unused_reference(
    field: &str,
    kind: ProfileType,
    profile: &api::SecurityProfile,
) -> Result<(), FieldError> {
    if kind == ProfileType::Localhost || profile.localhost_ref.is_empty() {
        return Ok(());
    }
    let reason = format!("{:?} is set, but profile_type is not Localhost", profile.localhost_ref);
    Err(FieldError::invalid(format!("{field}.localhost_ref"), reason))
}

fn seccomp_path(field: &str, path: &str) -> Result<SeccompChoice, FieldError> {
    match path {
        "" | "unconfined" => Ok(SeccompChoice::Unconfined),
        "runtime/default" | "docker/default" => Ok(SeccompChoice::Default),
        other => match other.strip_prefix("localhost/") {
            Some(file) if file.starts_with('/') => Ok(SeccompChoice::Localhost(file.into())),
            _ => Err(FieldError::invalid(
                format!("{field}_profile_path"),
                format!("{other:?} is not unconfined, runtime/default or localhost/ with an absolute path"),
            )),
        },
    }
}

/// The AppArmor profile: the current message, or the deprecated name; None is one that was not requested.
fn apparmor(
    field: &str,
    profile: Option<&api::SecurityProfile>,
    name: &str,
) -> Result<Option<String>, FieldError> {
    let named = match profile {
        Some(profile) => {
            let kind = known(format!("{field}.profile_type"), profile.profile_type)?;
            unused_reference(field, kind, profile)?;
            match kind {
                ProfileType::Unconfined => APPARMOR_UNCONFINED,
                ProfileType::RuntimeDefault => APPARMOR_DEFAULT,
                ProfileType::Localhost if profile.localhost_ref.is_empty() => {
                    return Err(FieldError::invalid(format!("{field}.localhost_ref"), "it needs a profile"));
                }
                ProfileType::Localhost => profile.localhost_ref.as_str(),
            }
        }
        None => name,
    };
    let named = named.strip_prefix("localhost/").unwrap_or(named);
    Ok((!named.is_empty()).then(|| named.to_owned()))
}

fn selinux(options: Option<&api::SeLinuxOption>) -> Option<SelinuxLabel> {
    options.map(|o| SelinuxLabel {
        user: o.user.clone(),
        role: o.role.clone(),
        kind: o.r#type.clone(),
        level: o.level.clone(),
    })
}

/// The sandbox's own security settings. No process is the sandbox's own, so that what would bind only such a process
/// means nothing: the user and its groups, the root file system, seccomp and AppArmor. Kubelets send most of it for
/// every pod.
pub(crate) fn sandbox(from: &api::LinuxSandboxSecurityContext) -> Result<SandboxSecurity, FieldError> {
    Ok(SandboxSecurity { privileged: from.privileged, selinux: selinux(from.selinux_options.as_ref()) })
}

fn user(from: &api::LinuxContainerSecurityContext) -> Result<Option<User>, FieldError> {
    match (&from.run_as_user, from.run_as_username.as_str()) {
        (Some(uid), "") => Ok(Some(User::Id(id(&format!("{AT}.run_as_user"), uid.value)?))),
        (Some(_), _) => {
            let reason = "only one of run_as_user and run_as_username can be given";
            Err(FieldError::invalid(format!("{AT}.run_as_username"), reason))
        }
        (None, "") => Ok(None),
        (None, name) => Ok(Some(User::Name(name.to_owned()))),
    }
}

/// Where a container's settings are in the request.
const AT: &str = "config.linux.security_context";

/// A container's security settings.
pub(crate) fn container(from: &api::LinuxContainerSecurityContext) -> Result<ContainerSecurity, FieldError> {
    let user = user(from)?;
    let group =
        from.run_as_group.as_ref().map(|gid| id(&format!("{AT}.run_as_group"), gid.value)).transpose()?;
    if group.is_some() && user.is_none() {
        return Err(FieldError::invalid(format!("{AT}.run_as_group"), "a group without a user is refused"));
    }
    let capabilities = from.capabilities.clone().unwrap_or_default();
    #[expect(deprecated, reason = "older kubelets send them")]
    let (seccomp_path, apparmor_name) = (from.seccomp_profile_path.as_str(), from.apparmor_profile.as_str());
    Ok(ContainerSecurity {
        unmasked: false,
        privileged: from.privileged,
        add_capabilities: capabilities.add_capabilities,
        drop_capabilities: capabilities.drop_capabilities,
        ambient_capabilities: capabilities.add_ambient_capabilities,
        user,
        group,
        supplemental_groups: from
            .supplemental_groups
            .iter()
            .map(|gid| id(&format!("{AT}.supplemental_groups"), *gid))
            .collect::<Result<_, _>>()?,
        groups_policy: match known(
            format!("{AT}.supplemental_groups_policy"),
            from.supplemental_groups_policy,
        )? {
            api::SupplementalGroupsPolicy::Merge => GroupsPolicy::Merge,
            api::SupplementalGroupsPolicy::Strict => GroupsPolicy::Strict,
        },
        readonly_rootfs: from.readonly_rootfs,
        no_new_privs: from.no_new_privs,
        masked_paths: from.masked_paths.iter().map(Into::into).collect(),
        readonly_paths: from.readonly_paths.iter().map(Into::into).collect(),
        seccomp: seccomp(&format!("{AT}.seccomp"), from.seccomp.as_ref(), seccomp_path)?,
        apparmor: apparmor(&format!("{AT}.apparmor"), from.apparmor.as_ref(), apparmor_name)?,
        selinux: selinux(from.selinux_options.as_ref()),
    })
}
