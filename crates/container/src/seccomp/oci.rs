//! The profile of a bundle's `config.json`, as it was parsed with the rest of it.

use std::borrow::Cow;

use oci_spec::runtime::LinuxSeccomp;

use super::SeccompError;
use super::json::{action, architecture, argument, flags};
use super::profile::{Profile, Rule};

impl TryFrom<&LinuxSeccomp> for Profile {
    type Error = SeccompError;

    fn try_from(spec: &LinuxSeccomp) -> Result<Profile, SeccompError> {
        let mut architectures = Vec::new();
        for (at, arch) in spec.architectures().iter().flatten().enumerate() {
            architectures.extend(architecture(&format!("architectures[{at}]"), &arch.to_string())?);
        }
        let mut rules = Vec::new();
        for (at, call) in spec.syscalls().iter().flatten().enumerate() {
            let place = format!("syscalls[{at}]");
            let mut args = Vec::new();
            for (at, arg) in call.args().iter().flatten().enumerate() {
                let place = format!("{place}.args[{at}]");
                let index = u64::try_from(arg.index()).unwrap_or(u64::MAX);
                args.push(argument(&place, index, arg.value(), arg.value_two(), &arg.op().to_string())?);
            }
            let (name, errno) = (call.action().to_string(), call.errno_ret());
            rules.push(Rule {
                names: call.names().iter().cloned().map(Cow::Owned).collect(),
                action: action(&format!("{place}.action"), &format!("{place}.errnoRet"), &name, errno)?,
                args,
            });
        }
        let names: Option<Vec<String>> =
            spec.flags().as_ref().map(|list| list.iter().map(ToString::to_string).collect());
        let default = spec.default_action().to_string();
        Ok(Profile {
            default: action("defaultAction", "defaultErrnoRet", &default, spec.default_errno_ret())?,
            architectures,
            flags: flags(names.as_deref())?,
            rules,
        })
    }
}
