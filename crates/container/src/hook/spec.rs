//! Hooks of a specification, taken out of it and checked: they are run beside its plan, never by it.

use berth_types::hook::{At, Hook, Hooks};
use oci_spec::runtime::{Hook as Given, Spec};

use crate::plan::PlanError;

/// The most hooks of a container.
const MAX_HOOKS: usize = 1024;

/// The hooks of a specification, which has none any more.
///
/// # Errors
/// One without an absolute path, or with a time that is none.
pub fn take(spec: &mut Spec) -> Result<Hooks, PlanError> {
    let Some(given) = spec.hooks().clone() else { return Ok(Hooks::default()) };
    let mut hooks = Hooks::default();
    let mut count = 0;
    for at in At::ALL {
        let list = list(&given, at);
        count += list.len();
        for (index, hook) in list.iter().enumerate() {
            let field = || format!("hooks.{at}[{index}]");
            if !hook.path().is_absolute() {
                return Err(PlanError::invalid(field(), "its path is not absolute"));
            }
            if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                return Err(PlanError::invalid(field(), "its timeout is not above zero"));
            }
        }
        *hooks.at_mut(at) = of_spec(list);
    }
    if count > MAX_HOOKS {
        return Err(PlanError::invalid("hooks", format!("{count} hooks are more than {MAX_HOOKS}")));
    }
    spec.set_hooks(None);
    Ok(hooks)
}

/// The same hooks as they are run.
pub fn of_spec(list: &[Given]) -> Vec<Hook> {
    let one = |hook: &Given| Hook {
        path: hook.path().to_string_lossy().into_owned(),
        args: hook.args().clone().unwrap_or_default(),
        env: hook.env().clone(),
        timeout_s: hook.timeout().map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
    };
    list.iter().map(one).collect()
}

#[allow(deprecated, reason = "the prestart hooks are still written by others")]
fn list(given: &oci_spec::runtime::Hooks, at: At) -> &[Given] {
    let list = match at {
        At::Prestart => given.prestart(),
        At::CreateRuntime => given.create_runtime(),
        At::CreateContainer => given.create_container(),
        At::StartContainer => given.start_container(),
        At::Poststart => given.poststart(),
        At::Poststop => given.poststop(),
    };
    list.as_deref().unwrap_or_default()
}
