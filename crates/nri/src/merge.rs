//! What several plugins want for one container, put together in their order. Each sees what those before it did. Pure.
//!
//! A key that begins with `-` takes away what has the rest of it as its key. In what comes out, what is taken away comes before what is
//! added.

mod resources;

use std::collections::BTreeMap;

use crate::api::{
    Container, ContainerAdjustment, ContainerEviction, ContainerUpdate, Field, Hooks, KeyValue,
    LinuxContainer, LinuxContainerAdjustment, LinuxDevice, LinuxNamespace, LinuxResources, Mount,
};
use crate::owners::{Conflict, Owners};

/// What becomes of a plugin's answer that cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Another plugin wants the same.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A container is changed by an adjustment, or else by an update.
    #[error("plugin {plugin:?} asked for an update of {container:?}, which is being created")]
    UpdateOfNew {
        /// The plugin.
        plugin: String,
        /// The container.
        container: String,
    },
    /// A plugin wants too much.
    #[error("plugin {plugin:?} asked for more than {MAX_UPDATES} updates or evictions")]
    TooMany {
        /// The plugin.
        plugin: String,
    },
}

/// The most containers that plugins may update or evict with one answer.
pub(crate) const MAX_UPDATES: usize = 4096;

/// The key that is taken away.
pub fn taken_away(key: &str) -> Option<&str> {
    key.strip_prefix('-')
}

/// The changes so far.
#[derive(Debug, Default)]
pub struct Merge {
    /// The container that is being created.
    created: Option<String>,
    /// What is adjusted.
    pub adjust: ContainerAdjustment,
    /// The command line before any plugin changed it.
    args: Option<Vec<String>>,
    updates: BTreeMap<String, ContainerUpdate>,
    /// What is to be ended.
    pub evictions: Vec<ContainerEviction>,
    /// Who set what.
    pub owners: Owners,
}

impl Merge {
    /// For the creation of a container.
    pub fn of_creation(container: &str) -> Self {
        Self { created: Some(container.to_owned()), ..Self::default() }
    }

    /// For a change of a container's resources: what is asked for is what plugins start from.
    pub fn of_update(container: &str, asked: LinuxResources) -> Self {
        let linux = Some(crate::api::LinuxContainerUpdate { resources: Some(asked) });
        let update = ContainerUpdate { container_id: container.to_owned(), linux, ignore_failure: false };
        Self { updates: BTreeMap::from([(container.to_owned(), update)]), ..Self::default() }
    }

    /// The resources of a container that plugins want so far.
    pub fn resources_of(&self, container: &str) -> LinuxResources {
        let update = self.updates.get(container);
        update.and_then(|update| update.linux.clone()).and_then(|linux| linux.resources).unwrap_or_default()
    }

    /// The updates of all containers but one.
    pub fn updates_but(self, container: &str) -> Vec<ContainerUpdate> {
        self.updates.into_values().filter(|update| update.container_id != container).collect()
    }

    /// All updates so far.
    pub fn updates(&self) -> Vec<ContainerUpdate> {
        self.updates.values().cloned().collect()
    }

    /// Takes what a plugin wants to change of the container that is being created, and changes what the next one sees.
    ///
    /// # Errors
    /// Another plugin set the same.
    pub fn adjust(
        &mut self,
        wanted: ContainerAdjustment,
        seen: &mut Container,
        plugin: &str,
    ) -> Result<(), MergeError> {
        let mut by = By { owners: &mut self.owners, container: &seen.id, plugin };
        let reply = &mut self.adjust;
        let args = self.args.get_or_insert_with(|| seen.args.clone());
        by.map(Field::Annotations, wanted.annotations, &mut seen.annotations, &mut reply.annotations)?;
        by.list(Field::Mounts, wanted.mounts, &mut seen.mounts, &mut reply.mounts)?;
        let mut env: Vec<KeyValue> = seen.env.iter().map(|line| variable(line)).collect();
        by.list(Field::Env, wanted.env, &mut env, &mut reply.env)?;
        seen.env = env.iter().map(|of| format!("{}={}", of.key, of.value)).collect();
        by.args(wanted.args, args, &mut seen.args, &mut reply.args)?;
        if let Some(hooks) = wanted.hooks {
            by.owners.join(by.container, Field::OciHooks, plugin);
            append(&hooks, seen.hooks.get_or_insert_default());
            append(&hooks, reply.hooks.get_or_insert_default());
        }
        for limit in wanted.rlimits {
            by.claim(Field::Rlimits, &limit.r#type)?;
            seen.rlimits.retain(|other| other.r#type != limit.r#type);
            seen.rlimits.push(limit.clone());
            reply.rlimits.push(limit);
        }
        for device in wanted.cdi_devices {
            by.claim(Field::CdiDevices, &device.name)?;
            if !seen.cdi_devices.contains(&device) {
                seen.cdi_devices.push(device.clone());
            }
            reply.cdi_devices.push(device);
        }
        if let Some(linux) = wanted.linux {
            by.linux(linux, seen.linux.get_or_insert_default(), reply.linux.get_or_insert_default())?;
        }
        Ok(())
    }

    /// Takes what a plugin wants to have ended.
    ///
    /// # Errors
    /// It is too much.
    pub fn evict(&mut self, wanted: Vec<ContainerEviction>, plugin: &str) -> Result<(), MergeError> {
        if self.evictions.len() + wanted.len() > MAX_UPDATES {
            return Err(MergeError::TooMany { plugin: plugin.to_owned() });
        }
        self.evictions.extend(wanted);
        Ok(())
    }

    /// Takes what a plugin wants to change of containers that there are.
    ///
    /// # Errors
    /// Another plugin set the same of one whose failure counts; or it is the one that is being created.
    pub fn update(&mut self, wanted: Vec<ContainerUpdate>, plugin: &str) -> Result<(), MergeError> {
        if self.updates.len() + wanted.len() > MAX_UPDATES {
            return Err(MergeError::TooMany { plugin: plugin.to_owned() });
        }
        for update in wanted {
            let id = update.container_id.clone();
            if self.created.as_ref() == Some(&id) {
                return Err(MergeError::UpdateOfNew { plugin: plugin.to_owned(), container: id });
            }
            let (new, ignored) = (update.linux.and_then(|linux| linux.resources), update.ignore_failure);
            let mut now = self.resources_of(&id);
            // What is not done in the end is claimed by nobody.
            let mut owners = self.owners.of(&id);
            let mut by = By { owners: &mut owners, container: &id, plugin };
            let new = new.unwrap_or_default();
            match by.resources(&new, &mut now, None) {
                Ok(()) => {
                    if !owners.has(&id, Field::MemSwapLimit, "") {
                        resources::swap_follows(&new, &mut now);
                    }
                    self.owners.put(owners);
                }
                // Nothing of it is done.
                Err(_) if ignored => continue,
                Err(conflict) => return Err(conflict.into()),
            }
            let known = self.updates.entry(id.clone()).or_insert_with(|| ContainerUpdate {
                container_id: id,
                linux: None,
                ignore_failure: ignored,
            });
            known.ignore_failure &= ignored;
            known.linux = Some(crate::api::LinuxContainerUpdate { resources: Some(now) });
        }
        Ok(())
    }
}

fn variable(line: &str) -> KeyValue {
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}

fn append(from: &Hooks, to: &mut Hooks) {
    let Hooks { prestart, create_runtime, create_container, start_container, poststart, poststop } = from;
    to.prestart.extend_from_slice(prestart);
    to.create_runtime.extend_from_slice(create_runtime);
    to.create_container.extend_from_slice(create_container);
    to.start_container.extend_from_slice(start_container);
    to.poststart.extend_from_slice(poststart);
    to.poststop.extend_from_slice(poststop);
}

/// Something that is named by a key.
trait Keyed: Clone {
    fn key(&self) -> &str;
}

impl Keyed for Mount {
    fn key(&self) -> &str {
        &self.destination
    }
}

impl Keyed for KeyValue {
    fn key(&self) -> &str {
        &self.key
    }
}

impl Keyed for LinuxDevice {
    fn key(&self) -> &str {
        &self.path
    }
}

impl Keyed for LinuxNamespace {
    fn key(&self) -> &str {
        &self.r#type
    }
}

/// Who changes which container.
struct By<'a> {
    owners: &'a mut Owners,
    container: &'a str,
    plugin: &'a str,
}

impl By<'_> {
    fn claim(&mut self, field: Field, key: &str) -> Result<(), Conflict> {
        self.owners.claim(self.container, field, key, self.plugin)
    }

    fn claim_if(&mut self, set: bool, field: Field) -> Result<(), Conflict> {
        if set { self.claim(field, "") } else { Ok(()) }
    }

    /// What has its key in a map.
    fn map<V: Clone + Default>(
        &mut self,
        field: Field,
        wanted: BTreeMap<String, V>,
        seen: &mut BTreeMap<String, V>,
        reply: &mut BTreeMap<String, V>,
    ) -> Result<(), Conflict> {
        for key in wanted.keys().filter_map(|key| taken_away(key)) {
            if reply.remove(key).is_some() {
                self.owners.take_away(self.container, field, key, self.plugin);
            }
            seen.remove(key);
            reply.insert(format!("-{key}"), V::default());
        }
        for (key, value) in wanted.into_iter().filter(|(key, _)| taken_away(key).is_none()) {
            self.claim(field, &key)?;
            seen.insert(key.clone(), value.clone());
            reply.insert(key, value);
        }
        Ok(())
    }

    /// What carries its key itself.
    fn list<V: Keyed>(
        &mut self,
        field: Field,
        wanted: Vec<V>,
        seen: &mut Vec<V>,
        reply: &mut Vec<V>,
    ) -> Result<(), Conflict> {
        let (gone, new): (Vec<V>, Vec<V>) =
            wanted.into_iter().partition(|one| taken_away(one.key()).is_some());
        for one in gone {
            let key = taken_away(one.key()).unwrap_or_default();
            if reply.iter().any(|other| other.key() == key) {
                self.owners.take_away(self.container, field, key, self.plugin);
            }
            reply.retain(|other| other.key() != key && other.key() != one.key());
            seen.retain(|other| other.key() != key);
            let additions = reply.iter().position(|other| taken_away(other.key()).is_none());
            reply.insert(additions.unwrap_or(reply.len()), one.clone());
        }
        for one in new {
            self.claim(field, one.key())?;
            seen.retain(|other| other.key() != one.key());
            seen.push(one.clone());
            reply.push(one);
        }
        Ok(())
    }

    /// The command line; an empty first word takes away what another plugin set.
    fn args(
        &mut self,
        mut wanted: Vec<String>,
        original: &[String],
        seen: &mut Vec<String>,
        reply: &mut Vec<String>,
    ) -> Result<(), Conflict> {
        if wanted.first().is_some_and(String::is_empty) {
            self.owners.take_away(self.container, Field::Args, "", self.plugin);
            wanted.remove(0);
            reply.clear();
            *seen = original.to_vec();
        }
        if !wanted.is_empty() {
            self.claim(Field::Args, "")?;
            seen.clone_from(&wanted);
            *reply = wanted;
        }
        Ok(())
    }

    fn linux(
        &mut self,
        wanted: LinuxContainerAdjustment,
        seen: &mut LinuxContainer,
        reply: &mut LinuxContainerAdjustment,
    ) -> Result<(), Conflict> {
        self.list(Field::Devices, wanted.devices, &mut seen.devices, &mut reply.devices)?;
        if let Some(resources) = wanted.resources {
            let (seen, reply) =
                (seen.resources.get_or_insert_default(), reply.resources.get_or_insert_default());
            self.resources(&resources, seen, Some(reply))?;
        }
        if !wanted.cgroups_path.is_empty() {
            self.claim(Field::CgroupsPath, "")?;
            seen.cgroups_path.clone_from(&wanted.cgroups_path);
            reply.cgroups_path = wanted.cgroups_path;
        }
        self.one(
            Field::OomScoreAdj,
            wanted.oom_score_adj,
            &mut seen.oom_score_adj,
            &mut reply.oom_score_adj,
        )?;
        self.one(Field::IoPriority, wanted.io_priority, &mut seen.io_priority, &mut reply.io_priority)?;
        let (policy, to) = (&mut seen.seccomp_policy, &mut reply.seccomp_policy);
        self.one(Field::SeccompPolicy, wanted.seccomp_policy, policy, to)?;
        for namespace in &wanted.namespaces {
            let key = namespace.key();
            self.claim(Field::Namespace, taken_away(key).unwrap_or(key))?;
        }
        let mut spaces = Owners::default();
        let mut unclaimed = By { owners: &mut spaces, container: "", plugin: "" };
        unclaimed.list(Field::Namespace, wanted.namespaces, &mut seen.namespaces, &mut reply.namespaces)?;
        self.map(Field::Sysctl, wanted.sysctl, &mut seen.sysctl, &mut reply.sysctl)?;
        let (devices, to) = (&mut seen.net_devices, &mut reply.net_devices);
        self.map(Field::LinuxNetDevices, wanted.net_devices, devices, to)?;
        self.one(Field::LinuxSched, wanted.scheduler, &mut seen.scheduler, &mut reply.scheduler)?;
        let mut shown = None;
        self.one(Field::MemoryPolicy, wanted.memory_policy, &mut shown, &mut reply.memory_policy)?;
        if let Some(rdt) = wanted.rdt {
            self.rdt(&rdt, &mut reply.rdt)?;
            seen.rdt.clone_from(&reply.rdt);
        }
        Ok(())
    }

    /// What there is one of.
    fn one<V: Clone>(
        &mut self,
        field: Field,
        wanted: Option<V>,
        seen: &mut Option<V>,
        reply: &mut Option<V>,
    ) -> Result<(), Conflict> {
        if wanted.is_some() {
            self.claim(field, "")?;
            seen.clone_from(&wanted);
            *reply = wanted;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
